# SPDX-License-Identifier: Apache-2.0
"""The tables that `porter evaluate` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.measure.identification import FPIRS
from device.measure.report import interval, percent, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from device.measure.detection import Detected
    from device.measure.embeddings import VariantFacts
    from device.measure.identification import Identification
    from device.measure.verification import Verification
    from device.measure.visits import Visits


def print_verification(results: Mapping[str, Verification], facts: Mapping[str, VariantFacts]) -> None:
    """One line a variant."""
    if not results:
        return
    print("\nVerification (LFW's protocol; 95 % interval; threshold and share of matches kept at FMR 1e-4)")
    rows = []
    for name, result in results.items():
        figures = result.as_json()
        kept, threshold = figures["tmr_at_fmr"].get("1e-4"), figures["threshold_at_fmr"].get("1e-4")
        ms = facts[name].ms
        rows.append(
            (
                name,
                percent(figures["accuracy"]),
                percent(figures["std"]),
                interval(figures["accuracy_95"]),
                percent(figures["as_at_the_door"]["accuracy"]),
                str(figures["pairs"]),
                f"{threshold:.3f}" if threshold is not None else "-",
                percent(kept) if kept is not None else "-",
                f"{ms:.1f}" if ms is not None else "cached",
            )
        )
    print(
        table(
            ("variant", "accuracy", "std", "95 %", "at the door", "pairs", "threshold", "TMR", "embed ms"),
            rows,
        )
    )


def print_identification(results: Mapping[str, Identification]) -> None:
    """One line a variant."""
    if not results:
        return
    one = next(iter(results.values()))
    print(
        f"\nIdentification ({one.gallery} enrolled with {one.references} pictures, {one.probes.size} probes, "
        f"{one.strangers.size} strangers)"
    )
    rows = []
    for name, result in results.items():
        figures = result.as_json()
        row = [name, percent(figures["rank_1"])]
        for fpir in FPIRS:
            row += [
                percent(figures[f"fnir_at_fpir_{fpir}"]),
                interval(figures[f"fnir_at_fpir_{fpir}_95"]),
                f"{figures[f'threshold_at_fpir_{fpir}']:.3f}",
            ]
        rows.append(row)
    columns = [text for fpir in FPIRS for text in (f"FNIR@FPIR {fpir}", "95 %", "threshold")]
    print(table(("variant", "rank 1", *columns), rows))


def print_detection(results: Mapping[str, Detected]) -> None:
    """One line a set and detector."""
    if not results:
        return
    print("\nDetection (IoU 0.4)")
    rows = []
    for name, result in results.items():
        figures = result.as_json()
        rows.append(
            (
                name,
                percent(figures["recall"]),
                interval(figures["recall_95"]),
                f"{figures['found']} of {figures['faces']}",
                str(figures["false_alarms"]),
                str(figures["pictures"]),
                f"{figures['threshold']:g}",
            )
        )
    print(table(("set", "recall", "95 %", "faces", "false alarms", "pictures", "threshold"), rows))


def print_visits(results: Mapping[str, Sequence[Visits]]) -> None:
    """One line a variant and number of frames."""
    if not any(results.values()):
        return
    print(
        "\nVisits of several photos, fused as on a device (thresholds of their own, then those for a single frame)"
    )
    rows = []
    for name, lengths in results.items():
        for figures in (length.as_json() for length in lengths):
            row = [name, str(figures["frames"]), str(figures["visits"]), str(figures["strangers"])]
            for fpir in FPIRS:
                row += [
                    percent(figures[f"fnir_at_fpir_{fpir}"]),
                    f"{figures[f'threshold_at_fpir_{fpir}']:.3f}",
                    percent(figures[f"fnir_single_at_fpir_{fpir}"]),
                    percent(figures[f"fpir_single_at_fpir_{fpir}"]),
                ]
            rows.append(row)
    columns = [
        text for fpir in FPIRS for text in (f"FNIR@FPIR {fpir}", "threshold", "FNIR, single", "FPIR, single")
    ]
    print(table(("variant", "frames", "visits", "strangers", *columns), rows))
