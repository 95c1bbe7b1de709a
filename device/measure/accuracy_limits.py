# SPDX-License-Identifier: Apache-2.0
"""What the measured conditions say about Porter's limits: where it refuses, where it misses, where it is wrong.

"Refuses rather than guesses" is judged here, level by level, on counts: a level at which most faces are let through and
more than LIMIT of those are missed is a gap in the gate, and is named as one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from device.measure.accuracy_tables import md_table, percents, rate

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMIT = 0.02
MOSTLY = 0.95
TARGET_PX = 40
SIZE_LOW_PX, SIZE_SPAN_PX = 30.0, 70.0  # of the quality's size part (vision/quality.py)
NAMES = {
    "width": "face's width, default detector, px",
    "width_door_large": "face's width, detector 640x480, px",
    "width_close": "face's width, detector sees every pixel, px",
    "motion": "motion, share of the face's width",
    "light": "light left, share",
    "jpeg": "JPEG quality",
}
WIDTHS = ("width", "width_door_large", "width_close")


def limits_section(degraded: dict[str, Any]) -> str:
    """The last section of the page."""
    curves, gate = degraded["curves"], degraded["gate"]
    smallest = SIZE_LOW_PX + SIZE_SPAN_PX * gate["min_quality"]
    gate_line = (
        f"- `zone.min_face_px` is {gate['min_face_px']:g}: a narrower face is never embedded. Whatever it is set to, "
        f"`recognition.min_quality` {gate['min_quality']:g} refuses faces narrower than {smallest:g} px."
    )
    reach = {name: limits_of(curves[name])[0] for name in WIDTHS}
    reach_line = (
        f"- In {gate['frame_width_px']}x{gate['frame_height_px']} at most 2 % are missed up to "
        f"{reach['width']} px with the default detector, and up to {reach['width_door_large']} px with the one of "
        f"640x480. With a smaller `zone.min_face_px` more is missed: narrow the camera's view, or take the larger one."
    )
    lines = [
        "## What follows for the limits",
        "",
        gate_line,
        reach_line,
        *(target_line(name, curves[name]) for name in WIDTHS),
        mistakes_line(curves),
        "",
        "Each curve from mild to hard: up to which level at most 2 % of all probes are missed, and from which one on",
        "Porter refuses (or does not find) at least 95 % of them. In time: at no level are more than 5 % let through,",
        "and more than 2 % of those missed.",
        "",
        md_table(
            ("condition", "at most 2 % missed up to", "at least 95 % refused from", "refuses in time"),
            [(title, *limits_of(curves[name])) for name, title in NAMES.items()],
        ),
        "",
        *gap_lines(curves),
    ]
    return "\n".join(lines)


def target_line(name: str, points: Sequence[dict[str, Any]]) -> str:
    """Whether the target of the narrow face is met in one view."""
    point = next(point for point in points if point["level"] == TARGET_PX)
    met = "met" if point["fnir"] <= LIMIT else "**not met**"
    return (
        f"- At {TARGET_PX} px, {NAMES[name].split(', ', 1)[1].removesuffix(', px')}: FNIR of all "
        f"{rate(point['fnir'], point['fnir_95'])}, {point['not_found']} of {point['probes']} not found; the target of "
        f"at most 2 % is {met}."
    )


def mistakes_line(curves: dict[str, Any]) -> str:
    """How often an accepted probe got a wrong name, over everything, and the worst FPIR."""
    named = [(name, point) for name, points in curves.items() for point in points]
    wrong = sum(point["accepted_mistaken"] for _, point in named)
    searched = sum(point["accepted_probes"] for _, point in named)
    some = [(name, point) for name, point in named if point["accepted_fpir"] is not None]
    worst_name, worst = max(some, key=lambda each: float(each[1]["accepted_fpir"]))
    return (
        f"- Wrong names among enrolled people that were let through: {wrong} of {searched:,} searches over all "
        f"conditions ({percents(wrong / max(1, searched))}; the same people again and again, so no interval). The "
        f"highest FPIR of strangers that were let through: {rate(worst['accepted_fpir'], worst['accepted_fpir_95'])}, "
        f"{worst['accepted_alarms']} of {worst['accepted_strangers']} ({worst_name} {worst['level']})."
    )


def limits_of(points: Sequence[dict[str, Any]]) -> tuple[str, str, str]:
    """The last good level, the first refused one, and whether no level is both let through and missed."""
    good = "none"
    for point in points:
        if point["fnir"] > LIMIT:
            break
        good = f"{point['level']:g}"
    refused = next(
        (f"{p['level']:g}" for i, p in enumerate(points) if all(map(is_refused, points[i:]))), "none measured"
    )
    return good, refused, "no" if any(is_gap(point) for point in points) else "yes"


def is_refused(point: dict[str, Any]) -> bool:
    """Whether nearly nobody is let through at this level."""
    return bool(point["accepted_probes"] <= (1 - MOSTLY) * point["probes"])


def is_gap(point: dict[str, Any]) -> bool:
    """Whether more than a few are let through at this level, and more than LIMIT of those are missed."""
    return not is_refused(point) and point["accepted_fnir"] > LIMIT


def gap_lines(curves: dict[str, Any]) -> list[str]:
    """Every level at which the gate lets faces through that are then missed."""
    gaps = [(name, point) for name, points in curves.items() for point in points if is_gap(point)]
    if not gaps:
        return ["At no measured level are more than 5 % let through of whom more than 2 % are missed."]
    rows = [
        (
            name,
            point["level"],
            f"{point['accepted_probes']} of {point['probes']}",
            rate(point["accepted_fnir"], point["accepted_fnir_95"]),
            point["accepted_mistaken"],
            rate(point["accepted_fpir"], point["accepted_fpir_95"]),
        )
        for name, point in gaps
    ]
    text = (
        "Where the limits do **not** refuse in time: faces are let through, and more than 2 % of them are missed.\n"
        "A miss is silence, not a wrong name; wrong names are counted beside it."
    )
    columns = ("condition", "level", "let through", "FNIR of those", "wrong names", "FPIR of those")
    return [text, "", md_table(columns, rows)]
