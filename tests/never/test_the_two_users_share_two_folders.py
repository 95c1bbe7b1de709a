# SPDX-License-Identifier: Apache-2.0
"""Never 2 and 9, by file modes: what the forwarder's user may touch, on the folders as the shipped files make them.

systemd-sysusers and systemd-tmpfiles make the users and folders below a temporary root; then a child process becomes
each user in turn, as the units say (users, groups, umask), and tries.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from device.adapters.clock import ManualClock
from device.adapters.control_socket import ControlServer
from device.adapters.gallery_sqlite import SqliteGallery
from device.adapters.outbox_sqlite import SqliteOutbox
from device.adapters.state_file import FileStateBoard
from device.adapters.wish_file import FileWishes
from device.control import SOCKET_NAME
from device.folders import BOARD, FORWARD, OUTBOX, PUBLIC, SCREEN, SHARED, WISHES
from device.payloads import ServiceState, VisionInfo, Wish
from device.records import Consent
from device.screen_desk import ScreenState, screen_state
from device.shared_record import SharedRecord
from tests.events import make_event
from tests.people import KEY
from tests.required import need

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from device.control import Conversation, Peer, Request

SYSTEMD = Path(__file__).parents[2] / "systemd"
DAY_NS = 86_400_000_000_000
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become two users")


@dataclass(frozen=True, slots=True)
class Device:
    """A device's folders below a root, and the numbers of its users and groups."""

    root: Path
    users: dict[str, int]
    groups: dict[str, int]

    @property
    def state(self) -> Path:
        """What is /var/lib/porter on a device."""
        return self.root / "var/lib/porter"

    @property
    def run(self) -> Path:
        """What is /run/porter on a device."""
        return self.root / "run/porter"

    def service(self, name: str, work: Callable[[], object]) -> str:
        """Does `work` as the service of that name: its user and its groups, as in the unit."""
        return become(self.users[name], self.groups[name], [self.groups["porter-shared"]], work)

    def person(self, groups: Sequence[int], work: Callable[[], object]) -> str:
        """Does `work` as some other user who is a member of `groups`."""
        return become(65534, 65534, groups, work)


def become(uid: int, gid: int, groups: Sequence[int], work: Callable[[], object]) -> str:
    """Runs `work` in a child that is that user for good; returns `ok`, or the name of the exception."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups(list(groups))
        os.setgid(gid)
        os.setuid(uid)
        os.umask(0o007)
        outcome = "ok"
        try:
            work()
        except BaseException as error:  # noqa: BLE001  whatever it is, its name goes to the test
            outcome = f"{type(error).__name__}: {error}"
        os.write(writing, outcome.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        return pipe.read()


def numbers(file: Path) -> dict[str, int]:
    """Names and numbers in a passwd or group file."""
    rows = (line.split(":") for line in file.read_text().splitlines())
    return {row[0]: int(row[2]) for row in rows}


@pytest.fixture
def device() -> Iterator[Device]:
    """A fresh device, as the shipped files make it."""
    sysusers = need("systemd-sysusers", "systemd")
    tmpfiles = need("systemd-tmpfiles", "systemd")
    root = Path(tempfile.mkdtemp(prefix="porter-root-"))
    try:
        root.chmod(0o755)
        for kind in ("sysusers.d", "tmpfiles.d"):
            (root / "etc" / kind).mkdir(parents=True)
            shutil.copy(SYSTEMD / kind / "porter.conf", root / "etc" / kind)
        for folder in ("var/lib", "run"):
            (root / folder).mkdir(parents=True)
        subprocess.run([sysusers, f"--root={root}"], check=True, capture_output=True)
        subprocess.run(
            [tmpfiles, f"--root={root}", "--create", "porter.conf"], check=True, capture_output=True
        )
        yield Device(root, numbers(root / "etc/passwd"), numbers(root / "etc/group"))
    finally:
        shutil.rmtree(root)


def enrol(device: Device) -> None:
    """What the vision service does with its gallery."""
    gallery = SqliteGallery(
        device.state / "gallery.sqlite",
        simulated=False,
        embedder="sface",
        embedder_sha256="ab" * 32,
        dimension=4,
        device_key=KEY,
    )
    now_ns = ManualClock().now().utc_ns
    consent = Consent("", "recognition at this door", "cd" * 32, now_ns, now_ns + DAY_NS, "anna")
    gallery.enrol("anna", consent, np.eye(4, dtype=np.float32)[:3])
    gallery.close()


def append(device: Device, number: int) -> None:
    """What the vision service does with its outbox."""
    outbox = SqliteOutbox(device.state / SHARED / OUTBOX)
    outbox.append([make_event(number)])
    outbox.close()


def deliver(device: Device, count: int) -> None:
    """What the forwarder does with the outbox."""
    outbox = SqliteOutbox(device.state / SHARED / OUTBOX)
    events = outbox.peek(10)
    assert len(events) == count, events
    outbox.acknowledge([event.id for event in events])
    outbox.close()


def show(device: Device) -> None:
    """What the vision service does with the state board."""
    state = ServiceState(boot_ns=1, stopping=False, info=VisionInfo([], [], 0), presence=[], troubles=[])
    FileStateBoard(device.run / SHARED / BOARD).show(state)


def test_both_services_use_the_outbox_whoever_comes_first(device: Device) -> None:
    assert device.service("porter-forward", lambda: deliver(device, 0)) == "ok"
    assert device.service("porter-vision", lambda: append(device, 1)) == "ok"
    assert device.service("porter-forward", lambda: deliver(device, 1)) == "ok"
    assert device.service("porter-vision", lambda: append(device, 2)) == "ok"
    assert device.service("porter-forward", lambda: deliver(device, 1)) == "ok"


@pytest.mark.parametrize(("first", "second"), [("vision", "forward"), ("forward", "vision")])
def test_either_service_sets_a_damaged_outbox_aside(device: Device, first: str, second: str) -> None:
    path = device.state / SHARED / OUTBOX
    works = {"vision": lambda: append(device, 1), "forward": lambda: deliver(device, 0)}
    assert device.service(f"porter-{first}", works[first]) == "ok"
    assert device.service(f"porter-{first}", lambda: path.write_bytes(b"ruins" * 1000)) == "ok"
    assert device.service(f"porter-{second}", works[second]) == "ok"
    assert len(list(path.parent.glob(f"{OUTBOX}.corrupt-*Z"))) == 1


def test_the_forwarder_reads_the_state_board_and_cannot_write_it(device: Device) -> None:
    board = FileStateBoard(device.run / SHARED / BOARD)
    assert device.service("porter-vision", lambda: show(device)) == "ok"

    def read() -> None:
        assert board.read() is not None

    assert device.service("porter-forward", read) == "ok"
    assert device.service("porter-forward", lambda: show(device)).startswith("StorageError")


def test_wishes_go_one_way_and_are_read_without_being_led_astray(device: Device) -> None:
    """The forwarder writes them and the vision service reads them: never the other way round, never through a link."""
    path = device.run / FORWARD / WISHES
    wish = Wish(number=1, verb="pause")

    def read(expected: Wish | None) -> None:
        assert FileWishes(path).read() == expected

    assert device.service("porter-forward", lambda: FileWishes(path).show(wish)) == "ok"
    assert device.service("porter-vision", lambda: read(wish)) == "ok"
    assert device.service("porter-vision", lambda: FileWishes(path).show(wish)).startswith("StorageError")
    assert device.person([device.groups["porter"]], path.read_bytes).startswith("PermissionError")

    def mislead() -> None:
        path.unlink()
        path.symlink_to(device.run / SHARED / BOARD)

    assert device.service("porter-vision", lambda: show(device)) == "ok"
    assert device.service("porter-forward", mislead) == "ok"
    assert device.service("porter-vision", lambda: read(None)) == "ok"


def test_the_forwarder_can_neither_read_nor_replace_the_gallery(device: Device) -> None:
    """Not even by a file of the vision service's own, which the outbox is."""
    gallery = device.state / "gallery.sqlite"
    assert device.service("porter-vision", lambda: enrol(device)) == "ok"
    assert device.service("porter-vision", lambda: append(device, 1)) == "ok"
    outbox = device.state / SHARED / OUTBOX
    for attempt in (
        gallery.read_bytes,
        gallery.unlink,
        lambda: gallery.rename(device.state / SHARED / "mine"),
        lambda: outbox.rename(gallery),
        lambda: (device.state / "forged").write_bytes(b""),
        lambda: (device.state / SHARED).rename(device.state / "elsewhere"),
        lambda: list(device.state.iterdir()),
    ):
        assert device.service("porter-forward", attempt).startswith("PermissionError")


def test_only_the_group_porter_reaches_the_control_socket_and_the_forwarder_is_not_in_it(
    device: Device,
) -> None:
    """The socket is made by the vision service's user in a folder that hands it to the group."""
    path = device.run / SOCKET_NAME

    def refuse(request: Request, peer: Peer) -> Conversation:
        raise AssertionError(f"nobody asks anything here: {request} {peer}")

    def serve() -> None:
        ControlServer(path, refuse)  # left behind on purpose: `close` would remove the socket

    def connect() -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(os.fspath(path))

    assert device.service("porter-vision", serve) == "ok"
    assert path.stat().st_gid == device.groups["porter"]
    # Nobody listens any more, so who may connect is refused by that and not by the mode.
    assert device.person([device.groups["porter"]], connect).startswith("ConnectionRefusedError")
    assert device.person([], connect).startswith("PermissionError")
    assert device.service("porter-forward", connect).startswith("PermissionError")


def test_nobody_else_reads_what_the_services_share_or_the_brokers_credentials(device: Device) -> None:
    password = device.root / "etc/porter/forward/password"
    password.write_text("secret\n")
    assert device.service("porter-vision", lambda: append(device, 1)) == "ok"
    assert device.service("porter-vision", lambda: show(device)) == "ok"
    for path in (device.state / SHARED / OUTBOX, device.run / SHARED / BOARD, password):
        assert device.person([device.groups["porter"]], path.read_bytes).startswith("PermissionError"), path
    assert device.service("porter-vision", password.read_bytes).startswith("PermissionError")
    password.chmod(0o640)
    assert device.service("porter-forward", password.read_bytes) == "ok"


def test_the_screens_user_reads_what_is_for_everybody_and_nothing_else(device: Device) -> None:
    """Whoever stands before the screen must not learn who was at the door, nor who breaks into what draws it."""
    enrol(device)
    state = ServiceState(1, False, VisionInfo([], [], 0), [], [])
    FileStateBoard(device.run / SHARED / BOARD).show(state)
    screen = device.run / PUBLIC / SCREEN
    shown = screen_state("door", "b:1", "connected", None, [], ManualClock().now())

    def show() -> None:
        SharedRecord(screen, ScreenState, public=True).show(shown)

    def become_console(work: Callable[[], object]) -> str:
        return become(device.users["porter-console"], device.groups["porter-console"], [], work)

    assert device.service("porter-forward", show) == "ok"
    assert become_console(screen.read_bytes) == "ok"
    assert become_console(show).startswith("StorageError")
    for forbidden in (device.run / SHARED / BOARD, device.state / "gallery.sqlite"):
        assert become_console(forbidden.read_bytes).startswith("PermissionError"), forbidden
    for folder in (device.run / SHARED, device.run / FORWARD, device.state, device.state / SHARED):
        said = become_console(lambda folder=folder: list(folder.iterdir()))  # type: ignore[misc]
        assert said.startswith("PermissionError"), (folder, said)
