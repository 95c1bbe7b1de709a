# SPDX-License-Identifier: Apache-2.0
"""The services' folders, and in each the one part that both processes share.

`state_dir/shared` holds the outbox, `run_dir/shared` the state board: all that the forwarder may touch. The gallery
and the control socket lie beside `shared`, out of its reach, because file modes alone would not protect them there:
whoever may write to a folder may put another file in a file's place, and whoever may connect to the control socket
may enrol. `run_dir/forward` is the other way round: the forwarder writes there what the vision service may read;
`run_dir/public` is what it shows to every user of the device: nothing about a person. On a device systemd-tmpfiles
makes the folders for the two users (`systemd/tmpfiles.d/porter.conf`).
"""

from __future__ import annotations

from pathlib import Path

from device.errors import ConfigError, StorageError

SHARED = "shared"
OUTBOX = "outbox.sqlite"
GALLERY = "gallery.sqlite"
LEDGER = "consent-ledger.jsonl"
BOARD = "state.json"
FORWARD = "forward"
WISHES = "wishes.json"
BELL = "bell"
FORWARDER = "state.json"
PUBLIC = "public"
SCREEN = "screen.json"
LAST_SEEN = "last-seen"


def existing_folder(path: str, option: str, config_path: Path) -> Path:
    """The folder that `option` names, or a ConfigError that says who would have made it."""
    folder = Path(path)
    if not folder.is_dir():
        raise ConfigError(
            str(config_path),
            option,
            f"expected an existing folder, got {path}",
            hint="systemd makes it for the service; elsewhere: mkdir, or name another one",
        )
    return folder


def shared_folder(folder: Path, name: str = SHARED) -> Path:
    """The folder `name` in `folder`, made for this user and group where it is missing. Raises StorageError."""
    shared = folder / name
    try:
        shared.mkdir(mode=0o770, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{shared}: cannot be made: {error.strerror}",
            hint="on a device: systemd-tmpfiles --create porter.conf; elsewhere: the folder must be this user's own",
        ) from error
    return shared
