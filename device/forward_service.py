# SPDX-License-Identifier: Apache-2.0
"""Run the forwarder: outbox to broker.

Publishes the events that the vision service has committed, and what this device shows: who is present, whether it is
online, its alerts. It has no camera, no models and no gallery. Either service may start first. SIGHUP reads the
configuration again: all of it is taken, or none of it.
"""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import TYPE_CHECKING

from device import __version__
from device.adapters.bell_unix import UnixEar
from device.adapters.broker_mqtt import MqttBroker
from device.adapters.clock import SystemClock
from device.adapters.lamp_sysfs import SysfsLamp
from device.adapters.notify_systemd import SystemdNotifier
from device.adapters.outbox_sqlite import SqliteOutbox
from device.adapters.state_file import FileStateBoard
from device.adapters.vitals_linux import LinuxVitals
from device.adapters.wish_file import FileWishes
from device.announcements import Names
from device.broker_access import access, tls_files, too_open
from device.certificates import DAY_NS, ends_ns
from device.config import changed_restart_options, load
from device.errors import ConfigError, PorterError, StorageError
from device.folders import (
    BELL,
    BOARD,
    FORWARD,
    FORWARDER,
    OUTBOX,
    PUBLIC,
    SCREEN,
    SHARED,
    WISHES,
    existing_folder,
    shared_folder,
)
from device.forwarder import POLL_S, Forwarder
from device.health import HealthReport
from device.home_assistant import HomeAssistant
from device.logs import setup_logging
from device.metrics import DeviceCollector, Exporter, MetricsWriter
from device.orders import Orders
from device.payloads import ForwarderState
from device.screen_desk import ScreenDesk, ScreenState
from device.shared_record import SharedRecord
from device.status_desk import StatusDesk
from device.supervisor import Supervisor, Worker
from device.troubles import Troubles
from device.update_record import SHOWN, UpdateRecord
from device.vigil import watch_certificates, watch_update

if TYPE_CHECKING:
    import argparse

    from device.correspondence import Correspondent
    from device.options import Config
    from device.ports import Clock
    from device.records import Stamp

log = logging.getLogger("porter.forward")

# A step waits for a name lookup (the resolver's own limit is 30 s with three servers), a connection and a handshake.
PATIENCE_S = 60.0
# Commits ring. What rang in vain, and what the board shows, is found by looking.
IDLE_S = 0.1
SESSION_EXPIRY_S = 3600


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "--config", type=Path, default=Path("/etc/porter/porter.yaml"), help="default: %(default)s"
    )


def run(args: argparse.Namespace) -> int:
    """Builds the service, runs it until a signal, returns 0."""
    config = load(args.config)
    setup_logging(config.log.level, journal=args.journal)
    credentials = Path(args.credentials_dir) if args.credentials_dir else None
    ForwardService(args.config, config, SystemClock(), args.notify_socket, credentials).run()
    return 0


class ForwardService:
    """config -> parts -> threads. The main thread runs `run`; one worker does all the rest."""

    def __init__(
        self,
        config_path: Path,
        config: Config,
        clock: Clock,
        notify_socket: str | None,
        credentials: Path | None = None,
        last_update: Path = SHOWN,
    ) -> None:
        self._config_path = config_path
        self._config = config
        self._clock = clock
        self._credentials = credentials
        self._troubles = Troubles(clock)
        self._ear = make_ear(config)
        broker = make_broker(config, credentials, self._ear)
        state_dir = existing_folder(config.device.state_dir, "device.state_dir", config_path)
        self._outbox = SqliteOutbox(shared_folder(state_dir) / OUTBOX)
        self._board = FileStateBoard(Path(config.device.run_dir) / SHARED / BOARD)
        self._lamp = SysfsLamp()
        self._ending = False
        self._forwarder = Forwarder(
            names=self._names(config),
            live_max_age_s=config.events.live_max_age_s,
            outbox=self._outbox,
            board=self._board,
            broker=broker,
            clock=clock,
            troubles=self._troubles,
            uniform=random.uniform,
            correspondents=self._correspondents(config),
            idle_s=POLL_S if self._ear is None else IDLE_S,
        )
        self._forwarder.delivery.max_age_days = config.events.outbox_keep_days
        self._collector = DeviceCollector(__version__)
        step, metrics = self._forwarder.step, config.metrics
        if metrics.textfile or metrics.port:
            self._metrics = MetricsWriter(self._collector, metrics.textfile, self._renew_metrics)
            step = self._step
        workers = [Worker("forward", step, cleanup=self._forwarder.close, patience_s=PATIENCE_S)]
        if metrics.port:
            exporter = Exporter(self._metrics.registry, metrics.port)
            workers.append(Worker("metrics", exporter.step, cleanup=exporter.close))
        self._notifier = SystemdNotifier(notify_socket)
        self._supervisor = Supervisor(self._notifier, workers)
        self._desk = StatusDesk(
            SharedRecord(Path(config.device.run_dir) / FORWARD / FORWARDER, ForwarderState), self._notifier
        )
        # Another reader than the worker's: what it remembers of the file is one thread's.
        self._screen_board = FileStateBoard(Path(config.device.run_dir) / SHARED / BOARD)
        self._screen = ScreenDesk(
            SharedRecord(Path(config.device.run_dir) / PUBLIC / SCREEN, ScreenState, public=True)
        )
        self._last_update = SharedRecord(last_update, UpdateRecord)
        self._own_ends: dict[str, int | None] = {}
        self._own_read_ns = 0
        # Before the first connection, or the alerts of the run before would end there and begin again.
        self._look_after(clock.now())

    def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        self._supervisor.run(
            ready=self._ready, reload=self._reload, tick=self._tick, finished=lambda: self._ending
        )

    def _step(self) -> None:
        self._forwarder.step()
        self._metrics.step(self._clock.now())

    def _renew_metrics(self, now: Stamp) -> None:
        connected, troubles = self._forwarder.connected, self._troubles.standing()
        self._collector.show(self._health.report(now), connected=connected, troubles=troubles)

    def _ready(self) -> None:
        mqtt = self._config.mqtt
        log.info(
            "started device=%s broker=%s:%d tls=%s", self._config.device.id, mqtt.host, mqtt.port, mqtt.tls
        )
        for name in too_open(mqtt):
            log.warning("file_too_open path=%s text='every user may read it' hint='chmod o= %s'", name, name)
        if not mqtt.tls:
            log.warning(
                "plain_tcp broker=%s:%d text='anyone on the way can read and forge events'",
                mqtt.host,
                mqtt.port,
            )

    def _tick(self) -> None:
        now, mqtt = self._clock.now(), self._config.mqtt
        broker, connection = f"{mqtt.host}:{mqtt.port}", self._forwarder.vigil.broker
        self._desk.show(broker, connection, self._troubles, now)
        self._screen.show(
            self._config.device.id,
            broker,
            connection,
            self._screen_board.read(),
            self._troubles.standing(),
            now,
        )
        self._look_after(now)

    def _look_after(self, now: Stamp) -> None:
        self._watch_certificates(now)
        watch_update(self._last_update.read(), self._troubles)
        aside = self._outbox.set_aside
        if aside is None:
            self._troubles.clear("outbox_corrupt")
        else:
            self._troubles.raise_(
                "outbox_corrupt",
                f"the outbox was damaged and set aside as {aside.name}",
                f"look at {aside} and remove it when it is no longer needed",
            )

    def _watch_certificates(self, now: Stamp) -> None:
        if self._config.mqtt.tls and (not self._own_read_ns or now.boot_ns > self._own_read_ns + DAY_NS):
            self._own_read_ns = now.boot_ns
            files = tls_files(self._config.mqtt, self._credentials)
            named = {"this device's certificate": files.cert_file, "mqtt.ca_file": files.ca_file}
            self._own_ends = {what: ends_ns(path) for what, path in named.items() if path}
        ends = {**self._own_ends, "the broker's certificate": self._forwarder.certificate_ends_ns}
        watch_certificates(ends, now, self._troubles)

    def _reload(self) -> None:
        """SIGHUP: everything from the new file is built first, and taken only when all of it stands."""
        try:
            new = load(self._config_path)
            changed = changed_restart_options(self._config, new)
            if changed:
                raise ConfigError(
                    str(self._config_path),
                    changed[0],
                    f"cannot change while running: {', '.join(changed)}",
                    hint="systemctl restart porter-vision porter-forward",
                )
            broker = make_broker(new, self._credentials, self._ear)
        except PorterError as error:
            self._troubles.raise_("config_rejected", error.message, error.hint)
            log.error("config_rejected text=%r", error.message)
            return
        # The password's file may have changed under an unchanged name: a connection that stands does not show it.
        unchanged = new.mqtt == self._config.mqtt and self._forwarder.connected
        self._forwarder.ask(
            self._names(new),
            new.events.live_max_age_s,
            None if unchanged else broker,
            self._correspondents(new),
        )
        self._config, self._own_read_ns = new, 0
        self._forwarder.delivery.max_age_days = new.events.outbox_keep_days
        logging.getLogger("porter").setLevel(new.log.level.upper())
        self._troubles.clear("config_rejected")
        log.info("config_reloaded")

    def _correspondents(self, config: Config) -> list[Correspondent]:
        names = self._names(config)
        self._health = HealthReport(
            names,
            board=self._board,
            outbox=self._outbox,
            # What else is in state_dir the unit hides behind a file system in memory.
            vitals=LinuxVitals(Path(config.device.state_dir) / SHARED),
            troubles=self._troubles,
            counters=lambda: self._forwarder.delivery.counters,
            connects=lambda: self._forwarder.connects,
        )
        found: list[Correspondent] = [self._health]
        if config.home_assistant.discovery:
            prefix = config.home_assistant.prefix
            found.append(
                HomeAssistant(names, prefix=prefix, commands=config.mqtt.commands, uniform=random.uniform)
            )
        if config.mqtt.commands:
            found.append(
                Orders(
                    names,
                    board=self._board,
                    wishes=FileWishes(Path(config.device.run_dir) / FORWARD / WISHES),
                    lamp=self._lamp,
                    republish=self._republish,
                    restart=self._end,
                )
            )
        return found

    def _republish(self) -> None:
        self._forwarder.republish()

    def _end(self) -> None:
        """From the worker's thread: ends this process in order; the unit starts it again (Restart=always)."""
        self._ending = True

    def _names(self, config: Config) -> Names:
        return Names(
            base=config.mqtt.base,
            device=config.device.id,
            cameras=(config.camera.name,),
            firmware=__version__,
            boot=self._clock.boot_id,
        )


def make_ear(config: Config) -> UnixEar | None:
    """Where the vision service rings after a commit; None, with a warning, where the folder for it cannot be had."""
    try:
        return UnixEar(shared_folder(Path(config.device.run_dir), FORWARD) / BELL)
    except StorageError as error:  # events are worth more than commands: those are answered `unavailable`
        log.warning("commands_limited text=%r", error.message)
    except OSError as error:
        log.warning("bell_missing text='the outbox is looked at more often instead' error=%r", str(error))
    return None


def make_broker(config: Config, credentials: Path | None = None, ear: UnixEar | None = None) -> MqttBroker:
    """The broker as configured. Raises InputError where a TLS or password file, or a credential, is wrong."""
    mqtt = config.mqtt
    allowed = access(mqtt, credentials)
    return MqttBroker(
        mqtt.host,
        mqtt.port,
        client_id=mqtt.client_id or f"porter-{config.device.id}",
        tls=allowed.tls,
        protocol=mqtt.protocol,
        username=allowed.username,
        password=allowed.password,
        keep_alive_s=mqtt.keep_alive_s,
        # A command that was given while we were away for a moment still comes.
        session_expiry_s=SESSION_EXPIRY_S if mqtt.commands else 0,
        ear=ear,
    )
