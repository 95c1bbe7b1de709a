# SPDX-License-Identifier: Apache-2.0
"""Plots of a measurement as PNG files, drawn without a display. Needs matplotlib (extra `evaluate`)."""

from __future__ import annotations

import importlib.util
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from device.errors import InputError
from device.measure.metrics import rates

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from device.measure.detection import Detected
    from device.measure.identification import Identification
    from device.measure.verification import Verification

SIZE_IN = (7.0, 4.5)
DPI = 120
SIZE_EDGES_PX = (0, 30, 40, 60, 80, 120, 160, 240, 10_000)
COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
)  # told apart by colour-blind people too


def require_matplotlib() -> None:
    """Raises InputError where it is missing: before hours of work, not after."""
    if importlib.util.find_spec("matplotlib") is None:
        hint = "`pip install matplotlib` (it is in the extra `evaluate`), or give --no-plots"
        raise InputError("matplotlib is not installed, and draws the plots", hint=hint)


def draw_all(
    out: Path,
    verification: Mapping[str, Verification],
    identification: Mapping[str, Identification],
    detection: Mapping[str, Detected],
) -> list[Path]:
    """Draws what there is to draw into `out`; returns the files."""
    drawn = []
    if verification:
        drawn.append(draw_det(out / "verification-det.png", verification))
        drawn.append(draw_scores(out / "verification-scores.png", verification))
    if identification:
        drawn.append(draw_open_set(out / "identification.png", identification))
    if detection:
        drawn.append(draw_sizes(out / "detection.png", detection))
    return drawn


def draw_det(path: Path, results: Mapping[str, Verification]) -> Path:
    """FNMR over FMR, one curve a variant; the ideal is the lower left corner."""
    figure, axes = new_figure("Verification: missed matches against false ones")
    most = max(result.impostor.size for result in results.values())
    limits = (0.5 / max(1, most), 1e-3)
    for colour, (name, result) in zip(COLOURS, results.items(), strict=False):
        _, fmr, fnmr = rates(result.genuine, result.impostor)
        draw_curve(axes, fmr, fnmr, limits, color=colour, label=f"{name}, {result.folds.accuracy:.2%}")
    axes.set(xlabel="FMR, per comparison", ylabel="FNMR")
    return save(figure, axes, path)


def draw_scores(path: Path, results: Mapping[str, Verification]) -> Path:
    """Histograms of genuine (filled) and impostor (outlined) scores."""
    figure, axes = new_figure("Verification: scores of same (filled) and different people")
    edges = np.linspace(-0.4, 1.0, 71)
    for colour, (name, result) in zip(COLOURS, results.items(), strict=False):
        common: dict[str, Any] = {"bins": edges, "density": True, "color": colour}
        axes.hist(there(result.genuine), histtype="stepfilled", alpha=0.3, label=f"{name}, same", **common)
        axes.hist(there(result.impostor), histtype="step", label=f"{name}, different", **common)
        axes.axvline(float(np.mean(result.folds.thresholds)), color=colour, linestyle=":", linewidth=1)
    axes.set(xlabel="comparison score (cosine); dotted: ten-fold threshold", ylabel="density")
    return save(figure, axes, path)


def draw_open_set(path: Path, results: Mapping[str, Identification]) -> Path:
    """FNIR over FPIR, one curve a variant."""
    one = next(iter(results.values()))
    figure, axes = new_figure(
        f"Identification: {one.gallery} enrolled, {one.probes.size} probes, {one.strangers.size} strangers"
    )
    limits = (0.5 / max(1, one.strangers.size), 0.5 / max(1, one.probes.size))
    for colour, (name, result) in zip(COLOURS, results.items(), strict=False):
        probes = np.where(result.first, result.probes, np.nan)
        _, fpir, fnir = rates(probes, result.strangers)
        draw_curve(axes, fpir, fnir, limits, color=colour, label=name)
    axes.set(xlabel="FPIR, per search", ylabel="FNIR")
    return save(figure, axes, path)


def draw_sizes(path: Path, results: Mapping[str, Detected]) -> Path:
    """Recall by the height of the labelled face, one line a detector and set; small numbers: how many faces."""
    figure, axes = new_figure("Detection: recall by face height in the picture")
    for colour, (name, result) in zip(COLOURS, results.items(), strict=False):
        found, _ = np.histogram(result.found_px, SIZE_EDGES_PX)
        missed, _ = np.histogram(result.missed_px, SIZE_EDGES_PX)
        some = np.flatnonzero(found + missed)
        recall = found[some] / (found + missed)[some]
        axes.plot(some, recall, marker="o", color=colour, label=f"{name}, {result.false_alarms} false alarms")
        for place, share, count in zip(some, recall, (found + missed)[some], strict=True):
            axes.annotate(str(count), (place, share), (0, 4), textcoords="offset points", fontsize=7)
    labels = [f"{low}-{high}" for low, high in pairwise(SIZE_EDGES_PX[:-1])]
    axes.set_xticks(range(len(SIZE_EDGES_PX) - 1), [*labels, f">{SIZE_EDGES_PX[-2]}"])
    axes.set(xlabel="height of the labelled face, px", ylabel="recall", ylim=(0, 1.08))
    return save(figure, axes, path)


def new_figure(title: str) -> tuple[Any, Any]:
    """A figure and its axes, without pyplot: no global state, no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_IN, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    return figure, axes


def draw_curve(
    axes: Any, x: NDArray[np.float64], y: NDArray[np.float64], lowest: tuple[float, float], **style: str
) -> None:
    """An error curve on log scales from `lowest` to 1; what is less, 0 too, runs along the edge."""
    axes.step(np.maximum(x, lowest[0]), np.maximum(y, lowest[1]), where="post", clip_on=False, **style)
    axes.set(xscale="log", yscale="log", xlim=(lowest[0], 1), ylim=(lowest[1], 1))


def save(figure: Any, axes: Any, path: Path) -> Path:
    """Adds the legend and writes the file."""
    axes.legend(fontsize=8)
    figure.savefig(path)
    return path


def there(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The scores that exist."""
    return scores[~np.isnan(scores)]
