# SPDX-License-Identifier: Apache-2.0
"""Opens what the vision service keeps: gallery and ledger, outbox, the last certain time; with their alerts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from device import folders
from device.adapters.bell_unix import UnixBell
from device.adapters.gallery_sqlite import SqliteGallery
from device.adapters.last_seen import LastSeen
from device.adapters.ledger_file import FileLedger
from device.adapters.outbox_sqlite import SqliteOutbox
from device.registrar import Registrar
from device.sealing import read_device_key

if TYPE_CHECKING:
    from device.loaded_models import LoadedModel
    from device.options import Config
    from device.ports import Clock
    from device.troubles import Troubles


@dataclass(frozen=True, slots=True)
class Stores:
    """All of it, open. They belong to the recognise thread. gallery: what `registrar` keeps."""

    registrar: Registrar
    gallery: SqliteGallery
    outbox: SqliteOutbox
    last_seen: LastSeen


def open_stores(
    config: Config,
    embedder: LoadedModel,
    credentials_dir: Path | None,
    state_dir: Path,
    clock: Clock,
    troubles: Troubles,
) -> Stores:
    """Raises GalleryLocked, StorageError. embedder: whose references the gallery holds."""
    key = read_device_key(credentials_dir, state_dir)
    gallery = SqliteGallery(
        state_dir / folders.GALLERY,
        simulated=config.camera.source == "files",
        embedder=embedder.manifest.name,
        embedder_sha256=embedder.variant.sha256,
        dimension=next(iter(embedder.variant.outputs.values())).shape[-1],
        device_key=key,
    )
    if key.beside and config.camera.source != "files":  # a simulation holds nobody's face
        troubles.raise_(
            "key_unsealed",
            "the gallery's key is a file beside it: who copies the folder can open it",
            f"make it a credential: see docs/privacy.md ({key.origin})",
        )
    last_seen = LastSeen(state_dir / folders.LAST_SEEN)
    ledger = FileLedger(state_dir / folders.LEDGER)
    registrar = Registrar(gallery, ledger, clock, camera=config.camera.name, last_seen_ns=last_seen.read())
    if registrar.returned:
        troubles.raise_(
            "gallery_restored",
            f"the gallery held {registrar.returned} whose consent had ended: an old copy? They were erased again",
            "do not put back old copies of the gallery",
        )
    outbox = SqliteOutbox(
        folders.shared_folder(state_dir) / folders.OUTBOX,
        max_bytes=config.events.outbox_max_mb * 1_000_000,
        bell=UnixBell(Path(config.device.run_dir) / folders.FORWARD / folders.BELL),
    )
    for name, aside in (("gallery", gallery.set_aside), ("outbox", outbox.set_aside)):
        if aside is not None:
            troubles.raise_(
                f"{name}_corrupt",
                f"the {name} was damaged and set aside as {aside.name}",
                f"look at {aside} and remove it when it is no longer needed",
            )
    return Stores(registrar, gallery, outbox, last_seen)
