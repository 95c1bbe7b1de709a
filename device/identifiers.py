# SPDX-License-Identifier: Apache-2.0
"""Names that nobody has to give out: UUIDs that sort by time."""

from __future__ import annotations

NS_PER_MS = 1_000_000


def uuid7(utc_ns: int, random_bits: int) -> str:
    """A UUIDv7 (RFC 9562): 48 bits of milliseconds since 1970, then 74 of the random bits given."""
    milliseconds = max(0, utc_ns // NS_PER_MS) & (2**48 - 1)
    value = (
        milliseconds << 80
        | 0x7 << 76
        | (random_bits >> 62 & 0xFFF) << 64
        | 0b10 << 62
        | random_bits & (2**62 - 1)
    )
    text = f"{value:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
