# SPDX-License-Identifier: Apache-2.0
"""The Edge TPU and its one owner: the lock, the models' interpreters on it, the remedies of `edgetpu_care` carried out.

Models get an `EdgeTpuInterpreter` that stays theirs while the runtime's interpreter and its delegate behind it come and
go. All of them are dropped before the first is made again: libedgetpu wants one owner, and shares one device among the
delegates of one process.

An invocation that stalls never comes back to anybody, so the process has to end (`stalled`), and the next one finds in
the lock's file that it died so. Dropping a delegate of a dead stick may stall or crash as well: then systemd kills,
whose watchdog a stale heartbeat no longer feeds. A delegate is first loaded in a child process wherever it has failed
before.
"""

from __future__ import annotations

import logging
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from device.adapters.delegate_probe import DelegateProbe
from device.adapters.interpreter_tflite import TfliteInterpreter, find_runtime
from device.edgetpu_care import MEMORY_NS, Care, Do
from device.errors import EdgeTpuLostError, HardwareError, PorterError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from device.adapters.edgetpu_lock import EdgeTpuLock
    from device.adapters.models_folder import Variant
    from device.ports import Clock, TensorDetail

log = logging.getLogger("porter.edgetpu")

LOOK_AGAIN_S = 0.05
STALLED_NS = 10_000_000_000
INCURABLE = ("missing", "untried")  # what no reset of a port can help


@dataclass(frozen=True, slots=True)
class DelegateOptions:
    """How the delegate is loaded. device: which Edge TPU, empty: the first. python runs the probe's child."""

    library: str = "libedgetpu.so.1"
    device: str = ""
    runtime: str = "auto"
    threads: int = 1
    probe_timeout_s: float = 20.0
    python: str = sys.executable

    @property
    def loaded_with(self) -> dict[str, str]:
        """As the library wants it."""
        return {"device": self.device} if self.device else {}


class PortReset(Protocol):
    """Whoever can reset the USB port of the Edge TPU. It is asked without waiting."""

    def begin(self, now_ns: int) -> None:
        """Asks; never raises. now_ns: boot time."""
        ...

    def poll(self, now_ns: int) -> str | None:
        """What came of it, one line; None where there is no answer yet."""
        ...


class EdgeTpu:
    """See above. lost: why it is not in use; None while it is. reset: None where no port can be reset.

    `start` and `tend` belong to the main thread; what the interpreters call, to the thread that invokes.
    """

    def __init__(
        self,
        options: DelegateOptions,
        lock: EdgeTpuLock,
        clock: Clock,
        *,
        reset: PortReset | None = None,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self.lost: HardwareError | None = HardwareError("Edge TPU: not opened yet")
        self.in_use = False
        self.invoking_since_ns: int | None = None  # boot time; None while nothing is invoked
        self._options = options
        self._lock = lock
        self._clock = clock
        self._reset = reset
        self._wait = wait or threading.Event().wait
        self._interpreters: list[EdgeTpuInterpreter] = []
        self._care = Care(self._now_ns())
        self._probe: DelegateProbe | None = None
        self._asked_reset = False

    def interpreter(self, path: Path, variant: Variant) -> EdgeTpuInterpreter:
        """The interpreter of one model, closed until `start` or `tend` opens all."""
        made = EdgeTpuInterpreter(self, path, variant)
        self._interpreters.append(made)
        return made

    def start(self) -> None:
        """The first try, to its end: two probes and a reset at most. Never raises for what is wrong: see `lost`."""
        now_ns = self._now_ns()
        deaths = 0
        try:
            self._lock.take(now_ns)
            deaths = self._lock.deaths(now_ns, MEMORY_NS)
        except HardwareError as error:
            self.lost = error
        self._care = Care(now_ns, deaths=deaths, may_reset=self._reset is not None)
        if not self._care.trying:
            log.error("edgetpu_avoided deaths=%d", deaths)
            self.lost = HardwareError(
                f"Edge TPU: {deaths} processes died with it lately",
                hint="another cable, a powered hub or another port; journalctl -u porter-vision says how they ended",
            )
        while self._care.trying:
            self.tend()
            self._wait(LOOK_AGAIN_S)

    def tend(self) -> bool:
        """Does what is due about an Edge TPU that is not in use, without waiting; True where it has just come back."""
        if self.in_use:
            return False
        now_ns = self._now_ns()
        do = self._care.look(now_ns)
        if do in (Do.PROBE, Do.RESET) and not self._taken(now_ns):
            return False
        if do is Do.PROBE:
            self._ask_child(now_ns)
        elif do is Do.RESET:
            self._ask_helper(now_ns)
        elif do is Do.OPEN:
            return self._open(now_ns)
        else:
            self._lock.give_back()
        return False

    def begins(self) -> None:
        """An invocation begins."""
        self.invoking_since_ns = self._now_ns()

    def stalled(self) -> bool:
        """Whether one has not come back for so long that it never will."""
        since_ns = self.invoking_since_ns
        return since_ns is not None and self._now_ns() - since_ns >= STALLED_NS

    def failed(self, error: HardwareError) -> None:
        """An invocation failed: returns where it may be tried again, else raises EdgeTpuLostError."""
        do = self._care.failed(self._now_ns())
        log.warning("edgetpu_failed remedy=%s error=%r", do.name.lower(), error.message)
        if do is Do.RETRY:
            return
        self._drop()
        if do is Do.RELOAD:
            again = self._made()
            if again is not None:
                self.failed(again)
            return
        self.lost = error
        self.in_use = False  # from here on the main thread may tend it
        raise EdgeTpuLostError(error.message, hint=error.hint)

    def close(self) -> None:
        """Drops everything and gives the lock back; not where an invocation never came back: a death, plainly."""
        if self._probe is not None:
            self._probe.stop()
        if self.invoking_since_ns is not None:
            return
        self._drop()
        self.in_use = False
        self._lock.give_back()

    def make(self, path: Path, variant: Variant) -> TfliteInterpreter:
        """The runtime's interpreter of a model, with a delegate of its own. Raises HardwareError, InputError."""
        return TfliteInterpreter(
            path,
            expected_input=variant.input_detail,
            expected_outputs=variant.output_details,
            runtime=self._options.runtime,
            threads=self._options.threads,
            delegate_library=self._options.library,
            delegate_options=self._options.loaded_with,
        )

    def _taken(self, now_ns: int) -> bool:
        """Whether it is ours to try; what another process has is let alone until the next try."""
        try:
            self._lock.take(now_ns)
        except HardwareError as error:
            self.lost = error
            self._care.probed(now_ns, works=False, curable=False)
            return False
        return True

    def _ask_child(self, now_ns: int) -> None:
        if self._probe is None:
            self._probe = DelegateProbe(
                self._interpreters[0].path,
                runtime_module=find_runtime(self._options.runtime),
                library=self._options.library,
                options=self._options.loaded_with,
                timeout_s=self._options.probe_timeout_s,
                python=self._options.python,
            )
            return
        result = self._probe.poll()
        if result is None:
            return
        self._probe = None
        log.info("edgetpu_probed verdict=%s text=%r", result.verdict, result.text)
        why = result.error(self._options.library)
        self.lost = why or self.lost
        self._care.probed(now_ns, works=why is None, curable=result.verdict not in INCURABLE)

    def _ask_helper(self, now_ns: int) -> None:
        if self._reset is None:
            self._care.was_reset()
        elif not self._asked_reset:
            self._asked_reset = True
            self._reset.begin(now_ns)
        elif (said := self._reset.poll(now_ns)) is not None:
            self._asked_reset = False
            log.warning("edgetpu_port_reset said=%r", said)
            self._care.was_reset()

    def _open(self, now_ns: int) -> bool:
        error = self._made()
        self._care.opened(now_ns, works=error is None)
        self.lost = error
        self.in_use = error is None
        log.info("edgetpu_opened works=%s", self.in_use)
        return self.in_use

    def _made(self) -> HardwareError | None:
        """Makes all interpreters, or none and says why."""
        try:
            for each in self._interpreters:
                each.open()
        except PorterError as error:
            self._drop()
            return HardwareError(error.message, hint=error.hint)
        return None

    def _drop(self) -> None:
        for each in self._interpreters:
            each.drop()

    def _now_ns(self) -> int:
        return self._clock.now().boot_ns


class EdgeTpuInterpreter:
    """`ports.Interpreter` of one model on the Edge TPU. What a failed invocation needs happens inside `invoke`."""

    def __init__(self, tpu: EdgeTpu, path: Path, variant: Variant) -> None:
        self.path = path
        self._tpu = tpu
        self._variant = variant
        self._inner: TfliteInterpreter | None = None

    @property
    def input(self) -> TensorDetail:
        """The single input tensor: the manifest's, which the file's must be."""
        return self._variant.input_detail

    @property
    def outputs(self) -> Mapping[str, TensorDetail]:
        """The output tensors by name."""
        return self._variant.output_details

    def open(self) -> None:
        """Loads model and delegate. Raises HardwareError, InputError."""
        self._inner = self._tpu.make(self.path, self._variant)

    def drop(self) -> None:
        """Gives both back; harmless where there is nothing."""
        self._inner = None

    def invoke(self, tensor: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Runs the model. Raises EdgeTpuLostError where the Edge TPU is not in use, or was left for this failure."""
        while (inner := self._inner) is not None:
            self._tpu.begins()
            try:
                return inner.invoke(tensor)
            except HardwareError as error:
                failure = HardwareError(error.message, hint=error.hint)
            finally:
                self._tpu.invoking_since_ns = None
            # Out here: the error's traceback would keep the interpreter, and with it the delegate, alive.
            del inner
            self._tpu.failed(failure)
        raise EdgeTpuLostError("Edge TPU: not in use")
