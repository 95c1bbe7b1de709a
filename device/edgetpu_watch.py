# SPDX-License-Identifier: Apache-2.0
"""The service's main thread's part in the care for the Edge TPU: which models run now, and what the alerts say of it.

Whenever the Edge TPU was left or came back, `switch` gets the models that shall run from now on. Where
`inference.fallback` is `none` they stay those of the Edge TPU: nothing is looked at until it is back, and the service
lives on, says so and tries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.edgetpu_drift import Drift
from device.errors import HardwareError
from device.loaded_models import cpu_models, edgetpu_models

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.edgetpu import EdgeTpu
    from device.loaded_models import Models
    from device.options import Config
    from device.ports import Clock
    from device.troubles import Troubles


class EdgeTpuWatch:
    """start, then tick again and again; close at the end. Raises InputError where the models' files are wrong."""

    def __init__(self, tpu: EdgeTpu, config: Config, clock: Clock, troubles: Troubles) -> None:
        self.switch: Callable[[Models], None] = lambda _: None
        self._tpu = tpu
        self._config = config
        self._clock = clock
        self._troubles = troubles
        self._models = edgetpu_models(config, tpu)
        self._drifts = {"detector": Drift(), "embedder": Drift()}
        self._used = False

    def start(self) -> Models:
        """The first try; the models to begin with."""
        self._tpu.start()
        self._used = self._tpu.in_use
        self._report()
        return self._present()

    def tick(self) -> None:
        """Every half second: notices that it was left, tries to return, watches how long inferences take.

        Raises HardwareError where an invocation stalls: no thread can be taken back from a library, so the service has
        to end, sooner than systemd's watchdog would have it.
        """
        if self._tpu.stalled():
            raise HardwareError(
                "Edge TPU: an inference does not come back",
                hint="systemd starts the service again; it asks a child process first",
            )
        if self._tpu.in_use:
            self._look_at_times()
            return
        if self._used:
            self._used = False
            self._report()
            self.switch(self._present())
        if self._tpu.tend():
            self._used = True
            self.switch(self._models)
        self._report()

    def close(self) -> None:
        """Gives the Edge TPU back."""
        self._tpu.close()

    def _present(self) -> Models:
        lost = self._tpu.lost
        if lost is None or self._config.inference.fallback != "cpu":
            return self._models
        return cpu_models(self._config, lost)

    def _report(self) -> None:
        lost = self._tpu.lost
        if lost is None:
            self._troubles.clear("tpu_lost")
            return
        state = "running on the CPU instead"
        if self._config.inference.fallback != "cpu":
            state = "nobody is looked at, since inference.fallback is none"
        self._troubles.raise_("tpu_lost", f"{state}: {lost.message}", lost.hint)

    def _look_at_times(self) -> None:
        now_ns = self._clock.now().boot_ns
        slow = []
        for task, drift in self._drifts.items():
            timed = (
                self._models.detector if task == "detector" else self._models.embedder
            ).opened.interpreter
            if drift.look(now_ns, timed.count, list(timed.took_s.copy())):
                slow.append(task)
        if slow:
            self._troubles.raise_(
                "tpu_slow",
                f"inferences take more than twice as long as at their best: {', '.join(slow)}",
                "heat, most likely: a cooler place, air around it; or is it no longer on a USB 3 port?",
            )
        else:
            self._troubles.clear("tpu_slow")
