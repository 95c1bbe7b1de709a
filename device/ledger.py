# SPDX-License-Identifier: Apache-2.0
"""The consent ledger: what was agreed to, ended and erased, one entry after the other, each sealed by the next.

An entry's SHA-256 covers the one before, so a changed, missing or exchanged line is found out. It names subjects by
`subject_id` and ref, never by label: a label has to vanish with the consent, and nothing in a ledger ever does.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from device.records import LedgerHead

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Kind = Literal["enrolled", "renewed", "withdrawn", "expired", "erased", "key_rotated"]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
START = LedgerHead(0, "0" * 64)


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a consent says. expires: UTC, nanoseconds since 1970."""

    consent: str
    policy_sha256: Digest
    purpose: str
    cameras: list[str]
    given_at_ns: int
    expires_at_ns: int
    recorded_by: str


class LedgerEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line. at: UTC, RFC 3339; clock: whether that could be believed; references: how many, made or erased."""

    seq: Annotated[int, Meta(ge=1)]
    at: str
    clock: Literal["synced", "unsynced"]
    boot: str
    kind: Kind
    subject: str
    ref: str
    references: int
    reason: str
    terms: Terms | None
    prev: Digest
    sha256: Digest

    @property
    def head(self) -> LedgerHead:
        """This entry as the newest one."""
        return LedgerHead(self.seq, self.sha256)


def chained(entry: LedgerEntry, head: LedgerHead) -> LedgerEntry:
    """`entry` as the one that follows `head`: with its number and both hashes."""
    placed = msgspec.structs.replace(entry, seq=head.seq + 1, prev=head.sha256, sha256="")
    return msgspec.structs.replace(placed, sha256=digest_of(placed))


def digest_of(entry: LedgerEntry) -> str:
    """The SHA-256 of an entry: of its JSON with an empty `sha256`."""
    return sha256(msgspec.json.encode(msgspec.structs.replace(entry, sha256=""))).hexdigest()


def line_of(entry: LedgerEntry) -> bytes:
    """An entry as its line, with the line's end."""
    return msgspec.json.encode(entry) + b"\n"


def read_entries(lines: Iterable[bytes]) -> list[LedgerEntry]:
    """The entries of these lines, in order. Raises ValueError naming the line that does not belong."""
    entries: list[LedgerEntry] = []
    head = START
    for number, line in enumerate(lines, 1):
        try:
            entry = msgspec.json.decode(line, type=LedgerEntry)
        except msgspec.DecodeError as error:
            raise ValueError(f"line {number}: expected an entry: {error}") from None
        if (entry.seq, entry.prev) != (head.seq + 1, head.sha256):
            raise ValueError(
                f"line {number}: expected entry {head.seq + 1} after {head.sha256[:16]}, "
                f"found entry {entry.seq} after {entry.prev[:16]}"
            )
        if digest_of(entry) != entry.sha256 or line_of(entry).rstrip(b"\n") != line:
            raise ValueError(
                f"line {number}: was changed: its SHA-256 says {entry.sha256[:16]}, it is {digest_of(entry)[:16]}"
            )
        entries.append(entry)
        head = entry.head
    return entries


def consenting(entries: Sequence[LedgerEntry]) -> dict[str, LedgerEntry]:
    """Whose consent stands, by subject_id: the entry with its present terms. Time is not looked at."""
    standing: dict[str, LedgerEntry] = {}
    for entry in entries:
        if entry.kind == "enrolled" or (entry.kind == "renewed" and entry.subject in standing):
            standing[entry.subject] = entry
        elif entry.kind in ("withdrawn", "expired", "erased"):
            standing.pop(entry.subject, None)
    return standing
