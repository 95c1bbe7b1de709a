# SPDX-License-Identifier: Apache-2.0
"""The plots of docs/accuracy.md that need only the numbers of evaluate.json. Bands and bars are 95 % intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from device.measure.plots import COLOURS, new_figure, save

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WIDTH_CURVES = {
    "width_close": "the photo is the picture",
    "width_door_large": "1280x720, detector 640x480",
    "width": "1280x720, default detector",
}
# The curve, its title, its axis, the factor from level to axis, whether the axis is logarithmic.
AXES = {
    "motion": ("motion during the exposure", "length of the motion, % of the face's width", 100.0, False),
    "light": ("darkness with sensor noise", "light left, % (no gain)", 100.0, True),
    "jpeg": ("compression", "JPEG quality", 1.0, False),
}
LIMIT = 0.02


def draw_numbers(folder: Path, numbers: dict[str, Any]) -> list[Path]:
    """Draws all of them into `folder`; returns the files. The conditions are those of the first variant there."""
    degraded = next(iter(numbers["degraded"].values()))
    curves = degraded["curves"]
    drawn = [draw_widths(folder / "width.png", curves), draw_quality(folder / "quality.png", degraded)]
    drawn += [draw_condition(folder / f"{name}.png", name, curves[name]) for name in AXES]
    return [*drawn, draw_galleries(folder / "galleries.png", numbers["galleries"])]


def draw_widths(path: Path, curves: dict[str, list[dict[str, Any]]]) -> Path:
    """FNIR of all probes over the face's width, one line a view."""
    figure, axes = new_figure("FNIR against the face's width; a face that is not found is a miss")
    for colour, (name, label) in zip(COLOURS, WIDTH_CURVES.items(), strict=False):
        line(axes, [point["level"] for point in curves[name]], curves[name], "fnir", colour, label)
    axes.axhline(LIMIT, color="grey", linestyle=":", linewidth=1, label=f"{LIMIT:.0%}")
    axes.set_xticks([point["level"] for point in curves["width"]])
    axes.invert_xaxis()
    axes.set(xlabel="width of the face in the main stream, px", ylabel="FNIR", ylim=(0, 1.05))
    axes.set_yscale("symlog", linthresh=0.01)
    return save(figure, axes, path)


def draw_condition(path: Path, name: str, points: Sequence[dict[str, Any]]) -> Path:
    """All, accepted and refused probes and the strangers over one condition."""
    title, axis, factor, logarithmic = AXES[name]
    figure, axes = new_figure(f"Identification under {title}")
    levels = [point["level"] * factor for point in points]
    line(axes, levels, points, "fnir", COLOURS[0], "FNIR, all")
    line(axes, levels, points, "accepted_fnir", COLOURS[1], "FNIR of those that the limits let through")
    refused = [1 - point["accepted_probes"] / point["probes"] for point in points]
    axes.plot(levels, refused, linestyle="--", color="grey", label="refused or not found")
    line(axes, levels, points, "fpir", COLOURS[2], "FPIR, all strangers")
    axes.set(xlabel=axis, ylabel="share", ylim=(-0.02, 1.05))
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xticks(levels, [f"{level:g}" for level in levels])
    axes.minorticks_off()
    if levels[0] > levels[-1]:
        axes.invert_xaxis()
    return save(figure, axes, path)


def draw_quality(path: Path, degraded: dict[str, Any]) -> Path:
    """FNIR over sample quality; small numbers: how many searches."""
    figure, axes = new_figure("Quality against error: found probes of all conditions at the door")
    points = [point for point in degraded["quality"] if point["fnir"] is not None]
    middles = [(point["from"] + point["to"]) / 2 for point in points]
    line(axes, middles, points, "fnir", COLOURS[0], "FNIR")
    for middle, point in zip(middles, points, strict=True):
        place = (middle, point["fnir"])
        axes.annotate(str(point["probes"]), place, (0, 5), textcoords="offset points", fontsize=7)
    least = degraded["gate"]["min_quality"]
    axes.axvline(least, color="grey", linestyle=":", label=f"recognition.min_quality, {least:g}")
    axes.set(xlabel="sample quality", ylabel="FNIR", xlim=(0, 1), ylim=(-0.02, 1.05))
    return save(figure, axes, path)


def draw_galleries(path: Path, galleries: dict[str, list[dict[str, Any]]]) -> Path:
    """FNIR at FPIR 1 % over the size of the gallery, one line a variant; bars: the 95 % interval."""
    figure, axes = new_figure("FNIR at FPIR 1 % against the size of the gallery")
    for number, (colour, (name, points)) in enumerate(zip(COLOURS, galleries.items(), strict=False)):
        line(axes, [p["subjects"] * (1 + 0.03 * number) for p in points], points, "fnir", colour, name)
    axes.set(xlabel="subjects in the gallery", ylabel="FNIR", xscale="log", ylim=(0, None))
    ticks = [point["subjects"] for point in next(iter(galleries.values()))]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    return save(figure, axes, path)


def line(
    axes: Any, levels: Sequence[float], points: Sequence[dict[str, Any]], key: str, colour: str, label: str
) -> None:
    """One share over the levels with its intervals; points without anybody are left out."""
    kept = [(level, p) for level, p in zip(levels, points, strict=True) if p[key] is not None]
    shares = [point[key] for _, point in kept]
    below = [max(0.0, point[key] - point[f"{key}_95"][0]) for _, point in kept]
    above = [max(0.0, point[f"{key}_95"][1] - point[key]) for _, point in kept]
    where = [level for level, _ in kept]
    axes.errorbar(
        where, shares, (below, above), marker="o", markersize=4, capsize=2, color=colour, label=label
    )
