# SPDX-License-Identifier: Apache-2.0
"""Run the vision service: camera to outbox.

Captures frames, finds faces, compares those that present themselves with the enrolled subjects, and commits one
event at the start and one at the end of a visit to the outbox. It has no network; `porter forward` sends the events.
SIGHUP reads the configuration again: all of it is taken, or none of it.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from device import folders
from device.adapters.clock import SystemClock
from device.adapters.control_socket import ControlServer
from device.adapters.edgetpu_lock import SERVICE
from device.adapters.memory_glibc import overwrite_freed_memory
from device.adapters.notify_systemd import SystemdNotifier
from device.adapters.port_reset import SocketReset
from device.adapters.state_file import FileStateBoard, take_goodbye_back
from device.adapters.wish_file import FileWishes
from device.assembly import make_events, make_pipeline
from device.camera_assembly import (
    camera_info,
    capture_worker,
    make_capture,
    needs_another_camera,
    optics_settings,
)
from device.config import changed_restart_options, load
from device.control import SOCKET_NAME
from device.control_desk import ControlDesk
from device.edgetpu_watch import EdgeTpuWatch
from device.errors import ConfigError, PorterError
from device.folders import BOARD, existing_folder, shared_folder
from device.loaded_models import load_models, make_edgetpu, models_for
from device.logs import setup_logging
from device.options import Config, LogOptions
from device.options_delivery import MqttOptions
from device.options_optics import OpticsOptions
from device.payloads import VisionFigures
from device.recogniser import Recogniser
from device.stores import open_stores
from device.supervisor import LatestSlot, Supervisor, Worker
from device.troubles import Troubles

if TYPE_CHECKING:
    import argparse

    from device.capture import Capture
    from device.loaded_models import Models
    from device.pipeline import Pipeline
    from device.ports import Clock, Notifier
    from device.recognition.events import EventMaker
    from device.records import Frame

log = logging.getLogger("porter.vision")

CAMERA_SWITCH_S = 10.0
USB_RESET = Path("/run/porter-usb-reset.sock")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "--config", type=Path, default=Path("/etc/porter/porter.yaml"), help="default: %(default)s"
    )
    parser.add_argument(
        "--usb-reset",
        type=Path,
        default=USB_RESET,
        metavar="SOCKET",
        help="where the helper that resets the Edge TPU's port listens (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Builds the service, runs it until a signal, returns 0."""
    config, watch = Config(), None
    try:
        config = load(args.config)
        setup_logging(config.log.level, journal=args.journal)
        overwrite_freed_memory()
        credentials_dir = Path(args.credentials_dir) if args.credentials_dir else None
        clock = SystemClock()
        troubles = Troubles(clock)
        if config.inference.delegate == "edgetpu":
            reset = SocketReset(args.usb_reset)
            watch = EdgeTpuWatch(make_edgetpu(config, clock, SERVICE, reset), config, clock, troubles)
        notifier = SystemdNotifier(args.notify_socket)
        VisionService(args.config, config, clock, notifier, troubles, watch, credentials_dir).run()
    except Exception:
        take_goodbye_back(FileStateBoard(Path(config.device.run_dir) / folders.SHARED / BOARD))
        raise
    finally:
        if watch is not None:
            watch.close()
    return 0


@dataclass(frozen=True, slots=True)
class Built:
    """What a configuration builds; a reload that changes it for this process builds another."""

    models: Models
    maker: EventMaker
    pipeline: Pipeline


class VisionService:
    """config -> parts -> threads. The main thread runs `run`; capture, recognise and control are workers."""

    def __init__(
        self,
        config_path: Path,
        config: Config,
        clock: Clock,
        notifier: Notifier,
        troubles: Troubles,
        watch: EdgeTpuWatch | None = None,
        credentials_dir: Path | None = None,
    ) -> None:
        self._config_path = config_path
        self._credentials_dir = credentials_dir
        self._config = config
        self._clock = clock
        self._troubles = troubles
        self._watch = watch
        self._slot: LatestSlot[Frame] = LatestSlot()
        self._built = built = self._build(config, watch.start() if watch else load_models(config))
        state_dir = existing_folder(config.device.state_dir, "device.state_dir", config_path)
        run_dir = existing_folder(config.device.run_dir, "device.run_dir", config_path)
        self._capture = self._make_capture(config, built.models)
        self._capture_worker = capture_worker(self._capture, config)
        self._recogniser = self._make_recogniser(config, built, state_dir, run_dir)
        self._desk = ControlDesk(
            self._recogniser,
            lambda: self._capture,
            lambda: self._config,
            clock,
            self._troubles,
            FileWishes(run_dir / folders.FORWARD / folders.WISHES),
            lambda: os.kill(os.getpid(), signal.SIGTERM),  # the unit starts it again: Restart=always
        )
        self._recogniser.after_frame = self._desk.watch
        self._recogniser.figures = self._figures
        self._server = ControlServer(run_dir / SOCKET_NAME, self._desk.handle)
        workers = [
            Worker("control", self._server.step, cleanup=self._server.close),
            Worker("recognise", self._recogniser.step, cleanup=self._recogniser.close),
            self._capture_worker,
        ]
        self._supervisor = Supervisor(notifier, workers)
        if watch is not None:
            watch.switch = lambda models: self._adopt(self._build(self._config, models))

    def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        self._supervisor.run(ready=self._ready, reload=self._reload, tick=self._tick)

    def _ready(self) -> None:
        log.info("started device=%s camera=%s", self._config.device.id, self._config.camera.name)

    def _figures(self) -> VisionFigures:
        frames = self._recogniser.pipeline.counters.frames
        light = self._capture.optics.light
        return VisionFigures(self._desk.rate_hz, frames, self._built.models.times(), light)

    def _tick(self) -> None:
        if not self._clock.now().synced:
            self._troubles.raise_(
                "clock_unsynced",
                "the clock is not synchronised",
                "check that NTP reaches a server: timedatectl",
            )
        else:
            self._troubles.clear("clock_unsynced")
        if self._watch is not None:
            self._watch.tick()

    def _build(self, config: Config, models: Models) -> Built:
        maker = make_events(config, models, self._clock.boot_id, secrets.randbits)
        return Built(models, maker, make_pipeline(config, models, maker))

    def _make_capture(self, config: Config, models: Models) -> Capture:
        seen = models.detector.manifest.input
        return make_capture(config, self._clock, (seen.width_px, seen.height_px), self._slot, self._troubles)

    def _make_recogniser(self, config: Config, built: Built, state_dir: Path, run_dir: Path) -> Recogniser:
        self._stores = stores = open_stores(
            config, built.models.embedder, self._credentials_dir, state_dir, self._clock, self._troubles
        )
        return Recogniser(
            slot=self._slot,
            pipeline=built.pipeline,
            maker=built.maker,
            gallery=stores.registrar,
            outbox=stores.outbox,
            board=FileStateBoard(shared_folder(run_dir) / BOARD),
            clock=self._clock,
            troubles=self._troubles,
            camera=camera_info(config),
            models=built.models.infos(),
            consent_time=stores.registrar.consent_time,
            note_time=stores.last_seen.note,
        )

    def _reload(self) -> None:
        """SIGHUP: builds everything from the new file first, and swaps only when all of it stands.

        Where nothing changed for this process its visits go on: a door must not hear a second start of them.
        """
        try:
            new = load(self._config_path)
            refuse_restart_options(self._config_path, self._config, new)
            built, models = self._built, models_for(new, self._config, self._built.models)
            if sight(new) != sight(self._config) or models is not built.models:
                built = self._build(new, models)
            if needs_another_camera(new, self._config):
                self._switch_camera(new, built.models)
        except PorterError as error:
            self._troubles.raise_("config_rejected", error.message, error.hint)
            log.error("config_rejected text=%r", error.message)
            return
        self._config = new
        self._capture.optics.change(optics_settings(new))
        logging.getLogger("porter").setLevel(new.log.level.upper())
        self._adopt(built)
        self._troubles.clear("config_rejected")
        log.info("config_reloaded")

    def _adopt(self, built: Built) -> None:
        if built is self._built:
            return
        self._built = built

        def swap() -> None:
            # The new pipeline may have the same interpreters, and does not know whose face is still in them.
            self._recogniser.forget_face()
            self._stores.gallery.embedder_sha256 = built.models.embedder.variant.sha256
            self._recogniser.adopt(built.pipeline, built.maker, built.models.infos())

        self._recogniser.ask(swap)

    def _switch_camera(self, new: Config, models: Models) -> None:
        """Closes the camera and opens the new one; where that gives no frame, the old one comes back."""
        if not self._recogniser.looking:
            raise ConfigError(
                str(self._config_path),
                "camera",
                "cannot change while the service is paused: to try the new one it would have to look",
                hint="porter resume, then reload again",
            )
        old = self._capture
        self._replace_capture(self._make_capture(new, models), new)
        if self._waits_for_frame():
            return
        failure = self._capture_worker.failure
        reason = failure.message if isinstance(failure, PorterError) else "no frame came from it"
        self._replace_capture(old, self._config)
        raise ConfigError(
            str(self._config_path),
            "camera",
            f"expected a camera that works: {reason}",
            hint="the one configured before is in use again",
        )

    def _replace_capture(self, capture: Capture, config: Config) -> None:
        self._capture_worker.stop()
        self._capture_worker.join(self._capture_worker.patience_s)
        self._capture, self._capture_worker = capture, capture_worker(capture, config)
        self._supervisor.workers[-1] = self._capture_worker
        if not self._recogniser.looking:  # `porter pause` came meanwhile: then this camera is not opened
            capture.pause()
        self._capture_worker.start()

    def _waits_for_frame(self) -> bool:
        """Whether the present camera gives a frame in time. Runs on the main thread, which has nothing else to do."""
        deadline = self._clock.now().boot_ns + round(CAMERA_SWITCH_S * 1e9)
        while self._clock.now().boot_ns < deadline and self._capture_worker.alive:
            if self._capture.frames > 0:
                return True
            self._capture_worker.join(0.05)
        return False


def sight(config: Config) -> Config:
    """The configuration without what means nothing to the parts that see."""
    return msgspec.structs.replace(config, mqtt=MqttOptions(), log=LogOptions(), optics=OpticsOptions())


def refuse_restart_options(path: Path, old: Config, new: Config) -> None:
    """Raises ConfigError where a running service would have to be another one."""
    changed = changed_restart_options(old, new)
    if changed:
        raise ConfigError(
            str(path),
            changed[0],
            f"cannot change while running: {', '.join(changed)}",
            hint="systemctl restart porter-vision porter-forward",
        )
