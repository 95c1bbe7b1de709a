# SPDX-License-Identifier: Apache-2.0
"""Gallery, key and consent ledger: whose files they are, whether they fit together, and whether they can be read.

A gallery that a service has open is that service's alone (SQLite's exclusive lock), and it looked at all of it when it
began. Where none runs the file is read here as an immutable one: without a lock, so that a service may start meanwhile,
and without making any file beside it, which would be root's and in that service's way.
"""

from __future__ import annotations

import os
import pwd
import sqlite3
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from device.adapters.ledger_file import verified, whole_lines
from device.adapters.models_folder import load_manifest, pick_variant
from device.checkup.finding import Finding
from device.checkup.runner import unreadable
from device.control import ServiceStatus
from device.errors import PorterError
from device.folders import GALLERY, LEDGER
from device.gallery_file import Marks, check_maker, check_marks
from device.loaded_models import models_folder
from device.sealing import CREDENTIAL, KEY_FILE, NEXT_KEY_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from device.checkup.host import Host
    from device.control import ServiceUnavailable
    from device.options import Config

STORE = "etc/credstore.encrypted"
PRIVATE = (GALLERY, f"{GALLERY}-wal", LEDGER, KEY_FILE, NEXT_KEY_FILE)
READ_S = 3.0
STEPS = 10_000  # of SQLite's machine, between two looks at the clock
RIGHTS = "sudo chown porter-vision:porter-vision FILE; sudo chmod 600 FILE"


def gallery_findings(
    config: Config, host: Host, answer: ServiceStatus | ServiceUnavailable
) -> Iterator[Finding]:
    """answer: what the vision service said."""
    folder = Path(config.device.state_dir)
    if isinstance(answer, ServiceStatus):
        if answer.subjects:
            yield Finding("gallery", "ok", f"the vision service has it open, with {answer.subjects} subjects")
        else:
            hint = "porter enrol --label NAME --policy policy.md"
            yield Finding("gallery", "note", "nobody is enrolled, so nobody is compared", hint)
    else:
        yield from closed(config, host, folder / GALLERY)
    yield from ownership(folder)
    yield from key(host, folder)


def closed(config: Config, host: Host, path: Path) -> Iterator[Finding]:
    """The file of a service that does not run."""
    if host.vision_runs():
        yield Finding("gallery", "note", "the vision service is on its way and looks at it itself")
        return
    try:
        path.open("rb").close()
    except FileNotFoundError:
        yield Finding("gallery", "note", f"{path}: there is none yet: nobody is enrolled")
        return
    except PermissionError as error:
        yield unreadable("gallery", error)
        return
    if path.with_name(f"{path.name}-wal").exists():  # SQLite takes it away when it closes
        text = f"{path}: was not closed; the vision service puts it in order and checks it when it starts"
        yield Finding("gallery", "note", text, "systemctl status porter-vision")
        return
    try:
        yield inside(config, path)
    except PorterError as error:
        yield Finding("gallery", "wrong", error.message, error.hint)
    except sqlite3.Error as error:
        hint = "the vision service sets a damaged gallery aside; docs/troubleshooting.md, A file is damaged"
        yield Finding("gallery", "wrong", f"{path}: {error}", hint)


def inside(config: Config, path: Path) -> Finding:
    """Marks and pages. Raises StorageError, GalleryLocked, sqlite3.Error."""
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        (application,), (version,) = (
            db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
        )
        check_maker(path, application, version)
        found: Marks = db.execute("SELECT kind, embedder, dimension FROM gallery").fetchone()
        kind = "simulated" if config.camera.source == "files" else "live"
        check_marks(path, found, (kind, config.models.embedder, dimension(config)))
        (subjects,) = db.execute("SELECT count(*) FROM consent").fetchone()
        end = time.monotonic() + READ_S
        db.set_progress_handler(lambda: time.monotonic() > end, STEPS)
        try:
            (said,) = db.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                return Finding("gallery", "note", f"{path}: reading all of it takes more than {READ_S:g} s")
            raise
    finally:
        db.close()
    if said != "ok":
        hint = "the vision service sets a damaged gallery aside; docs/troubleshooting.md, A file is damaged"
        return Finding("gallery", "wrong", f"{path}: {said}", hint)
    return Finding("gallery", "ok", f"{path}: whole, {kind}, {subjects} subjects")


def dimension(config: Config) -> int:
    """Length of the configured embedder's embeddings."""
    manifest = load_manifest(models_folder(config), config.models.embedder)
    (output,) = pick_variant(manifest, config.inference.delegate).outputs.values()
    return output.shape[-1]


def ownership(folder: Path) -> Iterator[Finding]:
    """Whether the private files are private, and belong to whom the folder belongs."""
    try:
        owner = folder.stat().st_uid
    except OSError as error:
        hint = "systemd-tmpfiles --create porter.conf makes it; or device.state_dir names another"
        yield Finding("gallery", "wrong", f"{folder}: {error.strerror}", hint)
        return
    well = []
    for path in (folder / name for name in PRIVATE):
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        except PermissionError as error:
            yield unreadable("gallery", error)
            return
        mode = stat.S_IMODE(found.st_mode)
        hint = RIGHTS.replace("FILE", str(path))
        if not stat.S_ISREG(found.st_mode):
            yield Finding("gallery", "wrong", f"{path}: not a file", "who put it there? move it away")
        elif mode & 0o077:
            yield Finding("gallery", "wrong", f"{path}: mode {mode:04o}, so others may read it", hint)
        elif found.st_uid != owner:
            yield Finding(
                "gallery", "wrong", f"{path}: belongs to {user(found.st_uid)}, not to {user(owner)}", hint
            )
        else:
            well.append(path.name)
    if well:
        yield Finding("gallery", "ok", f"only {user(owner)} may read {', '.join(well)}")


def user(uid: int) -> str:
    """A user's name; the number where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def key(host: Host, folder: Path) -> Iterator[Finding]:
    """Where the device key is. What is in it is nobody's to see but the service's."""
    try:
        beside = (folder / KEY_FILE).exists()
        host.path(f"{STORE}/{CREDENTIAL}").stat()
        sealed = True
    except FileNotFoundError:
        sealed = False
    except OSError as error:
        yield unreadable("gallery", error)
        return
    if sealed and beside:
        text = f"{folder / KEY_FILE}: lies there although the key is a credential"
        yield Finding("gallery", "note", text, "porter rotate-key takes it away once it is not needed")
    elif sealed:
        yield Finding("gallery", "ok", "its key is a sealed credential")
    elif beside:
        hint = "docs/privacy.md, How references are sealed: make it a credential"
        yield Finding(
            "gallery", "note", "its key is a file beside it: who copies the folder can open it", hint
        )
    elif os.access(folder, os.X_OK) and (folder / GALLERY).exists():
        hint = "docs/recovery.md, The key is lost"
        yield Finding("gallery", "wrong", "there is a gallery, and no key for it", hint)


def ledger_findings(path: Path) -> Iterator[Finding]:
    """Whether every line of the consent ledger is in its place."""
    try:
        lines, torn = whole_lines(path)
        entries = verified(path, lines)
    except FileNotFoundError:
        yield Finding("ledger", "note", f"{path}: nothing was ever written; no service has run here")
    except PermissionError as error:
        yield unreadable("ledger", error)
    except OSError as error:
        yield Finding(
            "ledger", "wrong", f"{path}: cannot be read: {error.strerror}", "journalctl -k -b | grep mmc"
        )
    else:
        unfinished = f"; {torn} bytes of one that was never finished follow" if torn else ""
        yield Finding("ledger", "ok", f"{len(entries)} entries, every one in its place{unfinished}")
