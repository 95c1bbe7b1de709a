# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy before a broker that does to connections what networks do, and worse. One thread does all the traffic.

Faults are switched by attributes and methods, from any thread; `heal` ends them all. What a fault took from a
connection stays lost: that connection is silent until one end closes it. Only as much MQTT is parsed as is needed to
drop or hold one packet; with `mqtt=False` (TLS) bytes go through as they come.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import struct
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

from tests.subscriber import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

Direction = Literal["up", "down"]
CONNECT, CONNACK, PUBLISH, PUBACK = 1, 2, 3, 4
EVENT_ID = re.compile(rb'"id":"([0-9a-f-]{36})"')
CHUNK = 65536


@dataclass(slots=True)
class Pipe:
    """One direction of a connection. rest: the beginning of a packet; queue: what waits, and until when."""

    source: socket.socket
    sink: socket.socket
    rest: bytes = b""
    queue: deque[tuple[float, bytes]] = field(default_factory=deque)
    ended: bool = False
    deaf: bool = False  # bytes were lost: nothing passes any more
    stuck: bool = False  # nothing passes until `heal`
    next_s: float = 0.0


@dataclass(slots=True)
class Link:
    """A connection: client, proxy, broker. sent: the event of each PUBLISH by its packet identifier."""

    up: Pipe
    down: Pipe
    late: bool = False  # what is held outlives the client
    sent: dict[int, str] = field(default_factory=dict)

    def pipes(self) -> tuple[tuple[Direction, Pipe], tuple[Direction, Pipe]]:
        """Both directions."""
        return ("up", self.up), ("down", self.down)


class Proxy:
    """`with Proxy(broker.port) as proxy`; clients connect to `proxy.port`.

    delay_s, bytes_per_s (0: no limit): each way. closed: new connections are reset. hold_at: direction to packet type
    (0: any); that packet and all after it wait for `heal`, with `halve` after half of the first one went out.
    outlive: what is held reaches the broker even when its client has gone. refusal: a reason code with which events
    are refused in the broker's place. acknowledged: events for which the broker has sent a PUBACK below 0x80.
    """

    def __init__(self, target: int, *, mqtt: bool = True) -> None:
        self.heal_later()
        self.seen: Counter[tuple[Direction, int]] = Counter()
        self.acknowledged: set[str] = set()
        self.accepted = 0
        self.refused = 0
        self._target = target
        self._mqtt = mqtt
        self._links: list[Link] = []
        self._asked: deque[tuple[Callable[[], None], threading.Event]] = deque()
        self._ending = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._bell, self._ringer = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="proxy")

    def heal_later(self) -> None:
        """No fault for what comes from now on; what is held stays held."""
        self.delay_s = 0.0
        self.bytes_per_s = 0
        self.closed = False
        self.hold_at: dict[Direction, int] = {}
        self.halve = False
        self.outlive = False
        self.refusal = 0
        self._drop: dict[tuple[Direction, int], int] = {}
        self._corrupt: set[Direction] = set()

    def heal(self) -> None:
        """Ends all faults and lets go of what is held."""
        self.heal_later()
        self._do(self._unstick)

    def cut(self, *, reset: bool) -> None:
        """Closes all connections, both ends: with a reset, or in order."""

        def close() -> None:
            for link in list(self._links):
                self._close(link, reset=reset)

        self._do(close)

    def silence(self, *directions: Direction) -> None:
        """Half-opens all connections that stand: in these directions nothing passes any more, not even an end."""

        def deafen() -> None:
            for link in self._links:
                for direction, pipe in link.pipes():
                    pipe.deaf |= direction in directions

        self._do(deafen)

    def hold(self) -> None:
        """Holds what clients send on connections that stand; after `heal` the broker gets it, client or no client."""

        def stick() -> None:
            for link in self._links:
                link.late = link.up.stuck = True

        self._do(stick)

    def drop(self, direction: Direction, kind: int, nth: int = 1) -> None:
        """The n-th packet of this type from now on vanishes."""
        self._drop[direction, kind] = nth

    def corrupt(self, direction: Direction) -> None:
        """The next packet (TLS: the next bytes) gets a broken first byte (TLS: a flipped bit in the middle)."""
        self._corrupt.add(direction)

    def wait(self, direction: Direction, kind: int, more: int = 1, timeout_s: float = 20) -> None:
        """Waits until so many packets of this type have come in since the call."""
        want = self.seen[direction, kind] + more
        wait_for(lambda: self.seen[direction, kind] >= want, timeout_s, f"packet {kind} {direction}")

    def wait_held(self, timeout_s: float = 20) -> None:
        """Waits until something is held."""
        wait_for(self.holding, timeout_s, "a packet to hold")

    def holding(self) -> bool:
        """Whether a packet waits for `heal`."""
        return any(pipe.stuck and pipe.queue for link in list(self._links) for _, pipe in link.pipes())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        self._ringer.send(b"x")
        self._thread.join(10)
        self._ringer.close()

    def _do(self, work: Callable[[], None]) -> None:
        done = threading.Event()
        self._asked.append((work, done))
        self._ringer.send(b"x")
        assert done.wait(10), "the proxy's thread is gone"

    def _run(self) -> None:
        try:
            while not self._ending:
                self._turn()
        finally:
            for link in list(self._links):
                self._close(link, reset=True)
            self._listener.close()
            self._bell.close()

    def _turn(self) -> None:
        sources = {
            pipe.source.fileno(): (link, direction, pipe)
            for link in self._links
            for direction, pipe in link.pipes()
            if not pipe.ended and (pipe.stuck or sum(len(data) for _, data in pipe.queue) < CHUNK)
        }
        busy = any(pipe.queue and not pipe.stuck for link in self._links for _, pipe in link.pipes())
        poller = select.poll()
        for number in (self._listener.fileno(), self._bell.fileno(), *sources):
            poller.register(number, select.POLLIN)
        ready = {number for number, _ in poller.poll(2 if busy else 200)}
        if self._bell.fileno() in ready:
            self._bell.recv(100)
        while self._asked:
            work, done = self._asked.popleft()
            work()
            done.set()
        if self._listener.fileno() in ready:
            self._accept()
        for number, (link, direction, pipe) in sources.items():
            if number in ready and link in self._links:
                self._read(link, direction, pipe)
        for link in list(self._links):
            self._flush(link)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        broker = socket.socket()
        if self.closed or broker.connect_ex(("127.0.0.1", self._target)):
            end(client, reset=True)
            broker.close()
            return
        self.accepted += 1
        for side in (client, broker):
            side.setblocking(False)
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._links.append(Link(Pipe(client, broker), Pipe(broker, client)))

    def _read(self, link: Link, direction: Direction, pipe: Pipe) -> None:
        try:
            data = pipe.source.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
            if not (pipe.deaf or link.late):
                self._close(link, reset=True)  # as on a wire: what was on its way is gone
                return
        if not data:
            pipe.ended = True
            pipe.source.close()
            if pipe.stuck and not link.late:
                self._close(link, reset=True)
        elif not pipe.deaf:
            packets, pipe.rest = split(pipe.rest + data) if self._mqtt else ([data], b"")
            for packet in packets:
                self._pass(link, direction, pipe, packet)

    def _pass(self, link: Link, direction: Direction, pipe: Pipe, packet: bytes) -> None:
        kind = packet[0] >> 4 if self._mqtt else 0
        self.seen[direction, kind] += 1
        if self._mqtt:
            self._note(link, direction, kind, packet)
        if kind == PUBLISH and direction == "up" and self.refusal and EVENT_ID.search(packet):
            self.refused += 1
            number = publication(packet)[1]
            link.down.queue.append(
                (0.0, bytes([PUBACK << 4, 4]) + struct.pack(">HBB", number, self.refusal, 0))
            )
            return
        left = self._drop.get((direction, kind), 0)
        if left:
            self._drop[direction, kind] = left - 1
            if left == 1:
                return
        if direction in self._corrupt:
            self._corrupt.discard(direction)
            middle = 0 if self._mqtt else len(packet) // 2
            # 0 is no packet type. Other bits could make it a packet that a broker takes and answers with nothing, and
            # what came after it would be handed on first: no outbox can mend what TCP's checksum or TLS would refuse.
            broken = 0 if self._mqtt else packet[middle] ^ 0xFF
            packet = packet[:middle] + bytes([broken]) + packet[middle + 1 :]
        if not pipe.stuck and self.hold_at.get(direction, -1) in (0, kind):
            half = len(packet) // 2 if self.halve else 0
            with contextlib.suppress(OSError):
                pipe.sink.send(packet[:half])
            packet = packet[half:]
            pipe.stuck, link.late = True, self.outlive
        pipe.queue.append((time.monotonic() + self.delay_s, packet))

    def _note(self, link: Link, direction: Direction, kind: int, packet: bytes) -> None:
        found = EVENT_ID.search(packet)
        if direction == "up" and kind == PUBLISH and found:
            link.sent[publication(packet)[1]] = found[1].decode()
        elif direction == "down" and kind == PUBACK and (len(packet) < 5 or packet[4] < 0x80):
            self.acknowledged.add(link.sent.pop(int.from_bytes(packet[2:4], "big"), ""))

    def _flush(self, link: Link) -> None:
        for _, pipe in link.pipes():
            if pipe.deaf:
                pipe.queue.clear()
            try:
                self._send(pipe)
            except OSError:
                pipe.queue.clear()
                if not pipe.stuck:
                    self._close(link, reset=True)
                    return
            if pipe.ended and not pipe.queue and not pipe.stuck and not pipe.deaf:
                self._close(link, reset=False)
                return
        if link.up.ended and link.down.ended:
            self._close(link, reset=False)

    def _send(self, pipe: Pipe) -> None:
        now = time.monotonic()
        while pipe.queue and not pipe.stuck and pipe.queue[0][0] <= now and pipe.next_s <= now:
            due, data = pipe.queue.popleft()
            piece = data[:64] if self.bytes_per_s else data
            try:
                count = pipe.sink.send(piece)
            except BlockingIOError:
                count = 0
            if self.bytes_per_s:
                pipe.next_s = now + count / self.bytes_per_s
            if count < len(data):
                pipe.queue.appendleft((due, data[count:]))
            if count < len(piece):
                return

    def _unstick(self) -> None:
        for link in self._links:
            link.up.stuck = link.down.stuck = False

    def _close(self, link: Link, *, reset: bool) -> None:
        self._links.remove(link)
        for side in (link.up.source, link.up.sink):
            end(side, reset=reset)


def end(side: socket.socket, *, reset: bool) -> None:
    """Closes the socket, if it is open."""
    if side.fileno() >= 0:
        if reset:
            side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        side.close()


def split(data: bytes) -> tuple[list[bytes], bytes]:
    """Whole MQTT packets, and the beginning of the next one."""
    packets = []
    while (size := packet_size(data)) and len(data) >= size:
        packets.append(data[:size])
        data = data[size:]
    return packets, data


def packet_size(data: bytes) -> int:
    """Of the packet that begins here, header included; 0 where its length is not there yet."""
    size = 0
    for place, byte in enumerate(data[1:5]):
        size |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return 2 + place + size
    return len(data) if len(data) >= 5 else 0  # no length of MQTT's: let it through as it is


def publication(packet: bytes) -> tuple[str, int]:
    """Topic and packet identifier (0: QoS 0) of a PUBLISH."""
    start = 1
    while packet[start] >= 0x80:
        start += 1
    size = int.from_bytes(packet[start + 1 : start + 3], "big")
    place = start + 3 + size
    number = int.from_bytes(packet[place : place + 2], "big") if packet[0] & 0b110 else 0
    return packet[start + 3 : place].decode(), number
