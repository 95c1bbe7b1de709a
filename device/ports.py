# SPDX-License-Identifier: Apache-2.0
"""The ports: what the pipeline and the services need from the outside world, as Protocols.

Every port has a real adapter and a fake beside it in `adapters/`; both pass the same tests in `tests/contracts`.
An adapter raises the errors of `errors.py`; it never returns None for "failed".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from device.ledger import LedgerEntry
    from device.mqtt_messages import BrokerSignal, Message
    from device.payloads import Event, Reading, ServiceState, Wish
    from device.records import Consent, Frame, LedgerHead, Stamp, Subject


class Clock(Protocol):
    """Where time comes from. Durations are differences of `boot_ns`; `utc_ns` may jump."""

    @property
    def boot_id(self) -> str:
        """Short name of this boot: 8 hexadecimal digits, new at every boot."""
        ...

    def now(self) -> Stamp:
        """This moment on both clocks, and whether UTC is known to be synchronised."""
        ...


class Camera(Protocol):
    """A source of frames, owned by one thread. Usage: open, capture ..., close; and again after an error."""

    @property
    def live(self) -> bool:
        """False where frames come from files: what is enrolled from it is marked simulated."""
        ...

    def open(self) -> None:
        """Takes the device or file. Raises HardwareError (device) or InputError (file)."""
        ...

    def capture(self, timeout_s: float) -> Frame | None:
        """The next frame; None at the end of a source that ends. Raises CameraStalledError after `timeout_s`."""
        ...

    def close(self) -> None:
        """Gives everything back; harmless when already closed; `open` may follow (a full reset)."""
        ...


@dataclass(frozen=True, slots=True)
class TensorDetail:
    """A tensor as the interpreter reports it. scale 0 means not quantised; real = (q - zero_point) * scale."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0


class Interpreter(Protocol):
    """One loaded model. Belongs to one thread."""

    @property
    def input(self) -> TensorDetail:
        """The single input tensor."""
        ...

    @property
    def outputs(self) -> Mapping[str, TensorDetail]:
        """The output tensors by name."""
        ...

    def invoke(self, tensor: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Runs the model on `tensor` (the input's shape and dtype).

        Returns the raw outputs by name, still quantised; the next `invoke` overwrites them, and the caller may.
        Raises HardwareError where the delegate fails.
        """
        ...


@dataclass(frozen=True, slots=True)
class EnrolledReferences:
    """One subject and their references: (R, D) float32, each row of unit length, in the gallery's own basis."""

    subject: Subject
    references: NDArray[np.float32]


class GalleryStore(Protocol):
    """The enrolled subjects on disk. At most 500; no reference without a consent record."""

    @property
    def basis(self) -> NDArray[np.float32]:
        """The secret orthogonal matrix, (D, D) float32: `basis @ embedding` may be compared with what `load` gives."""
        ...

    def load(self, now_utc_ns: int) -> Sequence[EnrolledReferences]:
        """Everyone whose consent holds at `now_utc_ns`. Raises StorageError."""
        ...

    def enrol(self, label: str, consent: Consent, references: NDArray[np.float32]) -> Subject:
        """Stores a new subject with (R, D) references under `consent` (its consent_id is assigned here).

        All or nothing, durable on return. Raises InputError (label taken, 500 reached), StorageError.
        """
        ...

    def renew(
        self, label_or_ref: str, consent: Consent, references: NDArray[np.float32] | None = None
    ) -> Subject:
        """Puts a new consent in the old one's place, and new references where some are given; ref and label stay.

        All or nothing, durable on return; what it replaces is erased. Raises InputError (nobody of that name,
        no consent), StorageError.
        """
        ...

    def rename(self, label_or_ref: str, label: str) -> Subject:
        """Gives a subject another label. Raises InputError (nobody of that name, label taken), StorageError."""
        ...

    def subjects(self) -> Sequence[Subject]:
        """Everyone stored, by label."""
        ...

    def withdraw(self, label_or_ref: str) -> Subject:
        """Erases a subject and their references; returns who it was. Raises InputError where there is none."""
        ...

    def erase_expired(self, now_utc_ns: int) -> Sequence[Subject]:
        """Erases everyone whose consent has ended; returns them."""
        ...

    @property
    def marked(self) -> LedgerHead | None:
        """How far the ledger had come, as noted last: a shortened or exchanged one is found out by it."""
        ...

    def mark(self, head: LedgerHead) -> None:
        """Notes how far the ledger has come. Raises StorageError."""
        ...

    @property
    def rotation_unwritten(self) -> bool:
        """Whether the keys were renewed since the last `mark`: the ledger has yet to be told."""
        ...

    def rotate(self) -> bool:
        """Renews all keys and the basis, all or nothing; nobody enrols again, and no score changes.

        Returns whether the device key is a new one as well: not where it is a credential.
        Raises StorageError: nothing was changed, or all of it and older copies may remain on the medium.
        """
        ...

    def close(self) -> None:
        """Closes the database."""
        ...


class Ledger(Protocol):
    """The consent ledger: entries are added at its end, durably, and never changed."""

    @property
    def entries(self) -> Sequence[LedgerEntry]:
        """All of them, oldest first; their chain was checked."""
        ...

    def append(self, entry: LedgerEntry) -> LedgerEntry:
        """Adds an entry, durable on return; number and hashes are set here. Raises StorageError."""
        ...

    def close(self) -> None:
        """Closes the file."""
        ...


class Outbox(Protocol):
    """Durable queue of events between the two processes. An event leaves it only by `acknowledge`."""

    def append(self, events: Sequence[Event]) -> Sequence[Event]:
        """Commits events (fsync) and returns them with their `seq` assigned. Raises StorageError."""
        ...

    def peek(self, limit: int, *, after: tuple[str, int] | None = None) -> Sequence[Event]:
        """The oldest `limit` events in commit order, or those after the one with this (boot, seq)."""
        ...

    def acknowledge(self, ids: Iterable[str]) -> None:
        """Removes delivered events, durably; unknown ids are ignored (a repeat)."""
        ...

    def forget_label(self, ref: str) -> int:
        """Takes the label out of all waiting events about `ref`, durably; returns of how many. Raises StorageError."""
        ...

    def drop(self, ids: Iterable[str]) -> None:
        """Gives events up, durably, and counts them; unknown ids are ignored."""
        ...

    def dropped(self) -> int:
        """How many events were given up: too old, or the oldest of too many."""
        ...

    def depth(self) -> int:
        """How many events wait."""
        ...

    def changed(self) -> bool:
        """Whether somebody else committed since the last call; cheap enough to ask 50 times a second."""
        ...

    def close(self) -> None:
        """Closes the database."""
        ...


class StateBoard(Protocol):
    """The vision service's present state, for the forwarder to read. Not durable on purpose."""

    def show(self, state: ServiceState) -> None:
        """Replaces the state, atomically. Raises StorageError."""
        ...

    def read(self) -> ServiceState | None:
        """The newest state; None where there is none or it cannot be read (logged once)."""
        ...


class Broker(Protocol):
    """An MQTT connection, driven from one thread.

    It never queues: what was in flight when the connection went is forgotten here and comes again from the outbox,
    so that nothing old can ever appear on a live topic.
    """

    def connect(self, will: Message | None, will_delay_s: int) -> None:
        """Starts connecting; the outcome arrives through `poll`. will None: for one who only listens.

        Raises BrokerUnavailable where it fails at once.
        """
        ...

    def publish(self, message: Message) -> int:
        """Hands one message to the connection, returns a handle. Raises BrokerUnavailable when not connected."""
        ...

    def subscribe(self, topic_filters: Sequence[str]) -> None:
        """Asks for these topics at QoS 1, on this connection: what comes arrives through `poll` as `Received`.

        What was retained before comes with `retained` set. Raises BrokerUnavailable when not connected.
        """
        ...

    def poll(self, timeout_s: float) -> Sequence[BrokerSignal]:
        """Does the network work for up to `timeout_s` and returns what happened, in order."""
        ...

    def disconnect(self) -> None:
        """Says goodbye (the will is not sent) and closes; harmless when not connected."""
        ...

    def abort(self) -> None:
        """Closes at once and throws away what was not sent yet; the will is sent. Harmless when not connected.

        For a connection that stalls: what it still holds would arrive when it is too old for a live topic.
        """
        ...


class Wishes(Protocol):
    """The newest thing that the broker asked of the vision service. Not durable on purpose."""

    def show(self, record: Wish) -> None:
        """Puts it in the last one's place, atomically. Raises StorageError."""
        ...

    def read(self) -> Wish | None:
        """The newest; None where there is none or it cannot be read (logged once)."""
        ...


@dataclass(frozen=True, slots=True)
class VitalSigns:
    """What the board's sensors say; a reading without a value says why. memory_mb: of this process."""

    cpu_c: Reading
    tpu_c: Reading
    undervoltage: bool | None
    disk_free_mb: int | None
    disk_share_free: float | None
    memory_mb: float | None
    tpu_slows_at_c: float | None = None  # from where on its own driver halves the clock, where it says so


class Vitals(Protocol):
    """The board's sensors."""

    def read(self) -> VitalSigns:
        """All of them now; never raises."""
        ...


class Lamp(Protocol):
    """A light on the device, to find it by."""

    def switch(self, *, on: bool) -> bool:
        """Begins or ends to blink; False where there is no lamp that may be used."""
        ...


class Notifier(Protocol):
    """The service manager's ear (systemd's sd_notify)."""

    def notify(self, state: str) -> None:
        """Sends e.g. `READY=1`, `WATCHDOG=1`, `STOPPING=1`, `STATUS=...`; silent where nobody listens."""
        ...
