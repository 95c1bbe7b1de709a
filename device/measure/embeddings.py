# SPDX-License-Identifier: Apache-2.0
"""Embeddings of all pictures for all variants, in one pass: a picture is read, its face found and cut out once.

A picture that serves as a reference is embedded as an enrolment does it, together with its mirror image, and once more
alone, as it may be a probe too. Only embeddings are kept on disk, never a crop: one file a variant, under a key made of
everything that could change them (the models' bytes, the source of the code that finds, cuts and embeds), and in it by
the picture's own hash.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

import device
from device.errors import InputError
from device.measure.variants import sha256_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from numpy.typing import NDArray

    from device.measure.faces import FaceFinder, Found
    from device.measure.progress import Progress
    from device.measure.variants import EmbedderVariant

OTHER_SOURCES = ("geometry.py", "adapters/camera_files.py", "measure/faces.py")
NOBODY, FIRST_LOOK, SECOND_LOOK = 0, 1, 2


@dataclass(frozen=True, slots=True)
class VariantFacts:
    """Which model a variant was, and how fast. ms: mean of one `Embedder.embed`; None where all came from the cache."""

    file: str
    sha256: str
    runtime: str
    ms: float | None


@dataclass(slots=True)
class VariantEmbeddings:
    """One variant's embeddings by picture hash; a row of NaN where no face was found.

    rows: as probes; references: mirrored, of those that serve as one. quality: of the sample, 0 to 1; look: see above.
    """

    variant: EmbedderVariant
    rows: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    references: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    quality: dict[str, float] = field(default_factory=dict)
    look: dict[str, int] = field(default_factory=dict)
    computed: int = 0
    seconds: float = 0.0  # inside `Embedder.embed`

    def lacks(self, key: str, *, reference: bool) -> bool:
        """Whether this picture is still to be embedded."""
        return key not in self.rows or (reference and key not in self.references)

    def add(self, key: str, found: Found | None, *, reference: bool) -> None:
        """Embeds a picture's subject; None: nobody was found."""
        embedder = self.variant.embedder
        if found is None:
            nothing = np.full(embedder.dimension, np.nan, np.float32)
            self.rows[key], self.look[key], self.quality[key] = nothing, NOBODY, 0.0
            if reference:
                self.references[key] = nothing
            return
        started = time.perf_counter()
        self.rows[key] = embedder.embed(found.crop)
        self.computed += 1
        self.seconds += time.perf_counter() - started
        self.quality[key] = found.quality
        self.look[key] = SECOND_LOOK if found.second_look else FIRST_LOOK
        if reference:
            self.references[key] = embedder.embed_mirrored(found.crop)

    def facts(self) -> VariantFacts:
        """What is to be known of the variant beside its figures."""
        variant = self.variant
        ms = 1e3 * self.seconds / self.computed if self.computed else None
        return VariantFacts(variant.file, variant.sha256, variant.runtime, ms)


@dataclass(slots=True)
class PictureSet:
    """What is known of the pictures that were asked for. keys: by path; unreadable: why, by path."""

    keys: dict[Path, str] = field(default_factory=dict)
    unreadable: dict[Path, str] = field(default_factory=dict)
    variants: list[VariantEmbeddings] = field(default_factory=list)

    def missing(self, *paths: Path) -> bool:
        """Whether one of these pictures could not be read."""
        return any(path in self.unreadable for path in paths)

    def matrix(self, variant: VariantEmbeddings, paths: Iterable[Path]) -> NDArray[np.float32]:
        """(N, D) embeddings of pictures that could be read, in this order."""
        return np.stack([variant.rows[self.keys[path]] for path in paths])

    def references(self, variant: VariantEmbeddings, paths: Iterable[Path]) -> NDArray[np.float32]:
        """As `matrix`, embedded as references; of pictures that `embed_pictures` was told to be some."""
        return np.stack([variant.references[self.keys[path]] for path in paths])

    def looks(self, wanted: int, paths: Iterable[Path] | None = None) -> int:
        """How many of these pictures (None: of all) were found with this look; the same for all variants."""
        look = self.variants[0].look
        return sum(look[self.keys[path]] == wanted for path in (self.keys if paths is None else paths))


def embed_pictures(
    pictures: Sequence[Path],
    finder: FaceFinder,
    variants: Sequence[EmbedderVariant],
    cache: Path | None,
    progress: Progress,
    references: Collection[Path] = (),
) -> PictureSet:
    """Embeds every picture with every variant; reads and writes the folder `cache` where one is given.

    references: those of the pictures that serve as references.
    """
    result = PictureSet(variants=[VariantEmbeddings(variant) for variant in variants])
    files = (
        {each.variant.name: cache_file(cache, finder, each.variant) for each in result.variants}
        if cache
        else {}
    )
    for each in result.variants:
        if cache:
            load_cache(files[each.variant.name], each)
    try:
        for path in pictures:
            try:
                embed_picture(path, finder, result, reference=path in references)
            except InputError as error:
                result.unreadable[path] = error.message
            progress.step()
    finally:
        for each in result.variants:
            if cache and each.rows:
                save_cache(files[each.variant.name], each)
    return result


def embed_picture(path: Path, finder: FaceFinder, result: PictureSet, *, reference: bool) -> None:
    """Embeds one picture with the variants that have not seen it. Raises InputError where it cannot be read."""
    key = sha256_of(path)
    fresh = [each for each in result.variants if each.lacks(key, reference=reference)]
    if fresh:
        found = finder.find(path)
        for each in fresh:
            each.add(key, found, reference=reference)
    result.keys[path] = key


def cache_file(cache: Path, finder: FaceFinder, variant: EmbedderVariant) -> Path:
    """Where a variant's embeddings are kept."""
    digest = hashlib.sha256()
    for part in (finder.sha256, str(finder.threshold), variant.sha256, variant.runtime):
        digest.update(part.encode() + b"\n")
    package = Path(device.__file__).parent
    for source in (*sorted(package.glob("vision/*.py")), *(package / name for name in OTHER_SOURCES)):
        digest.update(source.read_bytes())
    return cache / f"{variant.name}-{digest.hexdigest()[:16]}.npz"


def load_cache(path: Path, into: VariantEmbeddings) -> None:
    """Takes over what the file holds; one that is missing, damaged or of an older form holds nothing."""
    try:
        with path.open("rb") as file, np.load(file) as stored:
            keys, mirrored = (
                [bytes(key).hex() for key in stored[name]] for name in ("keys", "reference_keys")
            )
            rows, references = (stored[name].astype(np.float32) for name in ("rows", "references"))
            look, quality = stored["look"].tolist(), stored["quality"].tolist()
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return
    width = into.variant.embedder.dimension
    shapes = rows.shape == (len(keys), width) and references.shape == (len(mirrored), width)
    if shapes and len(look) == len(quality) == len(keys):
        into.rows = dict(zip(keys, rows, strict=True))
        into.references = dict(zip(mirrored, references, strict=True))
        into.look = dict(zip(keys, look, strict=True))
        into.quality = dict(zip(keys, quality, strict=True))


def save_cache(path: Path, each: VariantEmbeddings) -> None:
    """Writes the embeddings, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = list(each.rows)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(
            file,
            keys=hashes_of(keys),
            rows=np.stack(list(each.rows.values())),
            look=[each.look[key] for key in keys],
            quality=[each.quality[key] for key in keys],
            reference_keys=hashes_of(list(each.references)),
            references=np.reshape(list(each.references.values()), (-1, each.variant.embedder.dimension)),
        )
    part.replace(path)


def hashes_of(keys: Sequence[str]) -> NDArray[np.uint8]:
    """(N, 32) bytes of hexadecimal SHA-256."""
    return np.frombuffer(bytes.fromhex("".join(keys)), np.uint8).reshape(-1, 32)
