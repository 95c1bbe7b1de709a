# SPDX-License-Identifier: Apache-2.0
"""Watch the whole of Porter work on this machine: enrol, leave, come back, be matched; a stranger; a broker restart.

Both services run as real processes against an embedded broker, and a subscriber prints what they publish. The camera
is simulated with two public-domain portraits, unless you give your own (--camera). Nothing is kept afterwards. The
exit code is 0 only if everything happened that should have, and nothing that should not.
"""

from __future__ import annotations

import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from device.adapters.broker_embedded import EmbeddedBroker
from device.adapters.control_client import ControlClient
from device.control import SOCKET_NAME, ServiceStatus, StatusRequest
from device.demo_stage import DemoFailed, Heard, Stage, Subscriber, write_scenes

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from device.payloads import Event

LABEL = "eileen"
LIVE_MAX_AGE_S = 5

POLICY = """\
Consent for the Porter demo

This machine compares faces in memory with the one that is enrolled now, to show you that it works. The references
are kept in a temporary folder and are removed when the demo ends. Nothing leaves this machine. You can stop with
Ctrl-C at any moment.
"""

CONFIG = """\
# Written by `porter demo`; a good place to see what the configuration of a small set-up looks like.
device:
  id: demo-door
  state_dir: {folder}/state
  run_dir: {folder}/run
camera:
  source: {source}
  path: "{path}"
  width_px: 640
  height_px: 480
  rate_hz: 10
recognition:
  visit_end_s: 2
enrolment:
  references: 5             # fewer than by default, so that the demo is short
  pose_wait_s: 1            # a portrait cannot turn its head; people are given 6 s for each turn
events:
  publish_labels: true      # off by default: elsewhere subscribers see the opaque ref alone
  live_max_age_s: {live_max_age_s}
mqtt:
  host: 127.0.0.1
  port: {port}
  tls: false                # the broker of the demo listens on this machine only
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "--camera", metavar="CAMERA", help="your own camera: a number (picamera2) or a device (/dev/video0)"
    )


def run(args: argparse.Namespace) -> int:
    """Plays the demo; 0 when everything happened, 1 with what did not."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="porter-demo-") as name:
        folder = Path(name)
        (folder / "state").mkdir(mode=0o700)
        (folder / "run").mkdir()
        say("drawing what the simulated camera will see" if args.camera is None else "using your camera")
        if args.camera is None:
            write_scenes(folder)
        broker = EmbeddedBroker().start()
        config = write_config(folder, args.camera, broker.port)
        subscriber = Subscriber(broker.host, broker.port, tell)
        with Stage(folder, config, broker, subscriber) as stage:
            play = Play(
                stage, ControlClient(folder / "run" / SOCKET_NAME), own_camera=args.camera is not None
            )
            play.run()
    print(play.summary(time.monotonic() - began))
    return 0


def write_config(folder: Path, camera: str | None, port: int) -> Path:
    """The configuration both services read."""
    if camera is None:
        source, path = "files", str(folder / "camera")
    elif camera.isdecimal() and find_spec("picamera2") is not None:
        source, path = "picamera2", camera
    else:
        source, path = "usb", f"/dev/video{camera}" if camera.isdecimal() else camera
    file = folder / "porter.yaml"
    text = CONFIG.format(folder=folder, source=source, path=path, port=port, live_max_age_s=LIVE_MAX_AGE_S)
    file.write_text(text)
    return file


class Play:
    """The story, scene by scene. Each scene waits for what must happen and fails the demo where it does not."""

    def __init__(self, stage: Stage, control: ControlClient, *, own_camera: bool) -> None:
        self._stage = stage
        self._control = control
        self._own_camera = own_camera
        self._patience_s = 180.0 if own_camera else 60.0
        self._done: list[str] = []

    def run(self) -> None:
        """All scenes in order."""
        self.start()
        self.enrol()
        self.leave()
        self.come_back()
        self.stranger()
        self.broker_restart()
        self.check_messages()

    def start(self) -> None:
        """Both services come up and the device is online."""
        say("starting porter vision and porter forward against a broker on this machine")
        self._stage.start("vision")
        self._stage.start("forward")
        self._wait("the device is online", lambda: self._heard("status") and self._heard("info"))
        self._wait("the first frame", self._camera_works)
        self._did("both services are up, the device is online")

    def enrol(self) -> None:
        """The subject agrees, stands before the camera and is enrolled, through the command a person would use."""
        self._scene(
            "subject", "somebody steps in front of the camera and asks to be known", "step in front of it"
        )
        policy = self._stage.config.with_name("policy.md")
        policy.write_text(POLICY)
        agreed = [] if self._own_camera else ["--yes"]
        if self._stage.run("enrol", "--label", LABEL, "--policy", str(policy), *agreed) != 0:
            raise DemoFailed(
                "nobody was enrolled", hint="more light, nearer, one person; then `porter demo` again"
            )
        self._wait("the first match", lambda: len(self._matches("start")) == 1)
        self._did(f"{LABEL} was enrolled under a consent record, and recognised")

    def leave(self) -> None:
        """The subject goes; the visit ends; nobody is present."""
        ends = len(self._matches("end"))
        self._scene("nobody", f"{LABEL} leaves", "step out of its view")
        self._wait("the end of the visit", lambda: len(self._matches("end")) == ends + 1)
        self._wait("an empty presence", lambda: self._heard("presence")[-1].presence().present == [])

    def come_back(self) -> None:
        """The subject returns and is matched; leaves again."""
        starts = len(self._matches("start"))
        self._scene("subject", f"{LABEL} comes back", "come back")
        self._wait("the second match", lambda: len(self._matches("start")) == starts + 1)
        self._did(f"{LABEL} left, came back and was matched, live")
        self.leave()

    def stranger(self) -> None:
        """Somebody who is not enrolled: a count, and no message."""
        if self._own_camera:
            return
        before = len(self._events())
        self._scene("stranger", "somebody who did not ask to be known walks by", "")
        self._wait("the count of strangers", lambda: self._status().strangers >= 1)
        self._stage.show("nobody")
        if len(self._events()) != before:
            raise DemoFailed("a message was published about a stranger")
        self._did("a stranger was no more than a count: no message, nothing stored")

    def broker_restart(self) -> None:
        """The broker is away while somebody comes: the event waits, and arrives as late, never as live."""
        say("the broker goes down")
        self._stage.broker.stop()
        self._scene("subject", f"{LABEL} comes to the door meanwhile", "be in its view")
        self._wait("the match in the outbox", lambda: self._status().present == 1)
        matched = time.monotonic()
        self._scene(
            "nobody", f"and leaves; the match grows older than {LIVE_MAX_AGE_S} s", "step out of its view"
        )
        self._wait("the event to grow old", lambda: time.monotonic() > matched + LIVE_MAX_AGE_S + 1)
        live = len(self._heard("match"))
        say("the broker comes back")
        self._stage.broker_returns(self._patience_s)
        self._wait(
            "the late event", lambda: any(h.event().phase == "start" for h in self._heard("match/late"))
        )
        if any(h.event().phase == "start" for h in self._heard("match")[live:]):
            raise DemoFailed("an old match was published as live")
        self._did("the event of the outage arrived as late, and only as late")

    def check_messages(self) -> None:
        """Every event came once under its id, in order, without a gap."""
        self._wait("every visit to end", lambda: len(self._matches("end")) == len(self._matches("start")))
        unique = {event.id: event.seq for event in self._events()}
        if sorted(unique.values()) != list(range(1, len(unique) + 1)):
            raise DemoFailed(f"sequence numbers have gaps or repeats: {sorted(unique.values())}")
        self._did(f"{len(unique)} events, every sequence number once, none missing")

    def summary(self, seconds: float) -> str:
        """What happened."""
        lines = [f"  ok  {line}" for line in self._done]
        return "\n".join(["", *lines, f"all of it happened, in {seconds:.0f} s; nothing was kept."])

    def _scene(self, scene: str, story: str, request: str) -> None:
        if self._own_camera:
            say(f"now, please, {request}")
        else:
            say(story)
            self._stage.show(scene)

    def _wait(self, what: str, happened: Callable[[], object]) -> None:
        self._stage.wait(what, happened, self._patience_s)

    def _did(self, what: str) -> None:
        self._done.append(what)

    def _camera_works(self) -> bool:
        status = self._status()
        for trouble in status.troubles:
            if trouble.code == "camera_lost":
                raise DemoFailed(trouble.text, hint=trouble.hint)
        return status.frames > 0

    def _status(self) -> ServiceStatus:
        return self._control.ask(StatusRequest(), ServiceStatus)

    def _heard(self, kind: str) -> list[Heard]:
        return [heard for heard in self._stage.subscriber.heard if heard.kind == kind and heard.payload]

    def _events(self) -> list[Event]:
        return [heard.event() for heard in self._heard("match") + self._heard("match/late")]

    def _matches(self, phase: str) -> set[str]:
        return {event.id for event in self._events() if event.phase == phase}


def say(text: str) -> None:
    """One line of the story."""
    print(f"\n-- {text}", flush=True)


def tell(heard: Heard) -> None:
    """A message, as the subscriber prints it."""
    if not heard.payload:
        return  # an alert that does not stand: cleared on every connection, of no interest here
    print(f"   {time.strftime('%H:%M:%S')}  {heard.topic:<38} {shown(heard)}", flush=True)


def shown(heard: Heard) -> str:
    """What a message says, in a few words."""
    if heard.kind in ("match", "match/late"):
        event = heard.event()
        label = f" {event.person.label!r}" if isinstance(event.person.label, str) else ""
        return f"{event.phase:<5} {event.person.ref}{label}  score {event.score:.2f}  {event.delivery}"
    if heard.kind == "presence":
        return f"{len(heard.presence().present)} present"
    if heard.kind == "info":
        return "firmware, models, cameras, number of subjects"
    if heard.kind == "health":
        return "inference times, temperatures, outbox"
    if "/alert/" in heard.topic:
        return heard.alert().text
    return heard.payload.decode(errors="replace")
