# SPDX-License-Identifier: Apache-2.0
"""Never 3 and 7: no pictures, and strangers leave no trace. Every byte that a real run of the service leaves behind.

The needles are made from the very pictures that the service saw, by the product's own code: files, frames, crops,
embeddings. Even the references of the subject who enrolled lie nowhere in the open: they are sealed. That the search
works is shown by planting what it looks for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.adapters.camera_files import FilesCamera
from device.adapters.clock import ManualClock
from device.assembly import make_events, make_pipeline
from device.loaded_models import load_models
from device.options import Config, InferenceOptions
from device.vision.align import align

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from tests.service.harness import ServiceDoor

LABEL = "Trillian-42"
MAGIC = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG", "GIF": b"GIF8", "WebP": b"WEBPVP8", "MP4": b"ftypisom"}
# A run of twice this length holds a whole aligned block of it, wherever it begins.
PICTURE_BLOCK, EMBEDDING_BLOCK = 32, 16


def blocks(data: bytes, size: int) -> set[bytes]:
    """The aligned blocks of `data` that are no plain filling: a page of zeros is in every database."""
    cut = (data[start : start + size] for start in range(0, len(data) - size + 1, size))
    return {block for block in cut if len(set(block)) >= 8}


def found(needles: set[bytes], size: int, files: Mapping[str, bytes]) -> set[str]:
    """The names of the files that have one of these blocks in them, at any place."""
    return {
        name
        for name, content in files.items()
        if any(content[start : start + size] in needles for start in range(len(content) - size + 1))
    }


class Needles:
    """What must not be found of one scene."""

    def __init__(self, folder: Path) -> None:
        self.pictures = set[bytes]()
        self.embeddings = set[bytes]()
        config = Config(inference=InferenceOptions(threads=1))
        models = load_models(config)
        pipeline = make_pipeline(config, models, make_events(config, models, "b0070001", lambda _: 0))
        camera = FilesCamera(folder, ManualClock(), 640, 480, lores_px=pipeline.detector.size_px)
        camera.open()
        while (frame := camera.capture(1.0)) is not None:
            self._pictures(frame.main.tobytes(), frame.lores.tobytes(), frame.luma.tobytes())
            for detection in pipeline.detector.detect(frame.lores, frame.main.shape[1]):
                crop = align(frame.main, detection.landmarks)
                self._pictures(crop.tobytes())
                self.embeddings |= blocks(pipeline.embedder.embed(crop).tobytes(), EMBEDDING_BLOCK)
        camera.close()
        self._pictures(*(file.read_bytes() for file in folder.iterdir()))

    def _pictures(self, *several: bytes) -> None:
        for data in several:
            self.pictures |= blocks(data, PICTURE_BLOCK)


def left_behind(folders: Iterable[Path]) -> dict[str, bytes]:
    """Every file in these folders, sub-folders included, and its content."""
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return {path.name: path.read_bytes() for path in files}


def test_a_run_with_a_subject_and_a_stranger_leaves_references_and_nothing_else(
    door: ServiceDoor, scenes: Path
) -> None:
    places = (door.state_dir, door.run_dir, door.temporary)
    door.configure(log={"level": "debug"})
    door.start()
    door.show("anna")
    door.enrol(LABEL)
    door.wait("the start", lambda: door.phases() == ["start"])
    door.show("stranger")
    door.wait("the stranger to be counted", lambda: door.status().strangers >= 1)
    while_running = left_behind(places)
    assert door.stop() == 0
    afterwards = left_behind(places) | {"log": door.log_file.read_bytes()}

    subject, stranger = Needles(scenes / "anna"), Needles(scenes / "stranger")
    assert len(stranger.embeddings) > 100
    assert len(stranger.pictures) > 100_000
    face = b"odd" + b"".join(sorted(stranger.embeddings))
    assert found(stranger.embeddings, EMBEDDING_BLOCK, {"planted": face}) == {"planted"}
    planted = b"odd" + next((scenes / "stranger").iterdir()).read_bytes()[2000 : 2000 + 2 * PICTURE_BLOCK]
    assert found(stranger.pictures, PICTURE_BLOCK, {"planted": planted}) == {"planted"}
    for files in (while_running, afterwards):
        assert {"gallery.sqlite", "outbox.sqlite", "state.json"} <= files.keys()
        assert found(subject.embeddings | stranger.embeddings, EMBEDDING_BLOCK, files) == set()
        assert found(subject.pictures | stranger.pictures, PICTURE_BLOCK, files) == set()
        for kind, magic in MAGIC.items():
            assert not [name for name, content in files.items() if magic in content], kind
    named = {name for name, content in afterwards.items() if LABEL.encode() in content}
    assert named == {"gallery.sqlite"}, "no label in the log, the outbox or on the board"
