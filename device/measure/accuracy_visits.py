# SPDX-License-Identifier: Apache-2.0
"""docs/accuracy.md on visits of several frames, from the numbers of visits.py. Pure: numbers in, Markdown out."""

from __future__ import annotations

from typing import Any

from device.measure.accuracy_tables import md_table, rate, wrapped

FPIRS = {"1e-2": "1 %", "1e-3": "0.1 %"}


def visits_section(results: dict[str, list[dict[str, Any]]]) -> str:
    """Fused frames beside single ones; nothing where none were measured."""
    if not results:
        return ""
    parts = [
        "## Several frames",
        wrapped(
            "A visit is made of several photos of one person, fused as a door fuses its frames: the mean of their "
            "scores, weighted by quality. The enrolled and their probes are those above, cut into visits ten times "
            "over in random order; the intervals of FNIR count every photo once. Strangers are LFW people whom the "
            "open-set table does not name, one visit each: the longer the visit, the fewer there are who have the "
            "photos for it, and with fewer than 1,000 of them FPIR 0.1 % means none. **The frames of a real visit are "
            "far more alike than photos of different days, so a door gains less than this.**"
        ),
    ]
    for fpir, words in FPIRS.items():
        rows = [
            (
                name,
                figures["frames"],
                f"{figures['strangers']:,}",
                rate(figures[f"fnir_at_fpir_{fpir}"], figures[f"fnir_at_fpir_{fpir}_95"]),
                f"{figures[f'threshold_at_fpir_{fpir}']:.3f}",
                rate(figures[f"fnir_single_at_fpir_{fpir}"], figures[f"fnir_single_at_fpir_{fpir}_95"]),
                rate(figures[f"fpir_single_at_fpir_{fpir}"], figures[f"fpir_single_at_fpir_{fpir}_95"]),
            )
            for name, lengths in results.items()
            for figures in lengths
        ]
        columns = (
            *("variant", "frames", "strangers", f"FNIR at FPIR {words}", "threshold"),
            *(f"FNIR at the threshold for one frame, {words}", "FPIR there"),
        )
        parts.append(md_table(columns, rows))
    return "\n\n".join(parts)
