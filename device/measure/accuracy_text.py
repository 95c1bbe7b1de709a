# SPDX-License-Identifier: Apache-2.0
"""The words of docs/accuracy.md around the numbers of evaluate.json. Pure: numbers in, Markdown out.

What may surprise: sentences that judge (met, not met; refused, not refused) are chosen by the numbers, none is fixed.
"""

from __future__ import annotations

from typing import Any

from device.measure.accuracy_enrolment import enrolment_section
from device.measure.accuracy_limits import limits_section
from device.measure.accuracy_tables import counted, md_table, percents, rate, wrapped
from device.measure.accuracy_visits import visits_section

HEAD = """\
# Accuracy

Written by `make accuracy DATA=folder` from the numbers in [{folder}/evaluate.json]({folder}/evaluate.json).
Shares are followed by their 95 % interval (Wilson). FNIR: the share of searches for enrolled people that do not find
them. FPIR: the share of strangers who are taken for somebody. Each search is a single picture; a door fuses several.

## Before you rely on any of it

- **Never open a door on a face alone.** Porter does not detect presentation attacks: nothing here measures a photo or a
  screen held up to the camera, and a good one may pass.
- {caveat}
- The embedder's training pictures were collected from the web by its authors, of people who were not asked.
- These are press photos of the past, not a door: the same people are often shown on the same day, in good light. The
  thresholds are set on the same strangers that the FPIR is told of. Expect worse at a door, and measure there.
- Nothing here was measured by group of people, because the data does not say. Accuracy may differ between groups.

## What was measured

Porter {porter} on {machine}, {pictures} photos, each through the product's own detection, alignment, embedding and
gallery. {second_look} faces were found only at a second look with a lower threshold, {without_face} not at all; a face
that is not found counts as an error.
"""


def page(numbers: dict[str, Any], folder: str) -> str:
    """The whole page. folder: of the plots, beside the page."""
    name, degraded = next(iter(numbers["degraded"].items()))
    clean_probes = numbers["identification"][name]["strangers"]
    sections = [
        head(numbers, folder),
        verification(numbers["verification"], folder),
        identification(numbers["identification"], folder),
        visits_section(numbers.get("visits", {})),
        galleries(numbers["galleries"], folder),
        detection(numbers["detection"], folder),
        conditions(name, degraded, folder, clean_probes),
        limits_section(degraded),
        enrolment_section(degraded),
    ]
    return "\n".join(section.rstrip() + "\n" for section in sections if section)


def head(numbers: dict[str, Any], folder: str) -> str:
    """Title, warnings, what was measured with which models."""
    about = numbers["about"]
    text = HEAD.format(folder=folder, **{key: about[key] for key in ABOUT})
    rows = [
        (name, f"`{figures['file']}`", f"`{figures['sha256'][:16]}`", figures["runtime"])
        for name, figures in numbers["verification"].items()
    ]
    note = (
        "float is the model that the others were made from, int8 the variant for an Edge TPU (run here on the CPU), "
        "cpu what runs without one."
    )
    return f"{text}\n{md_table(('variant', 'file', 'SHA-256 begins', 'runtime'), rows)}\n\n{wrapped(note)}"


ABOUT = ("caveat", "porter", "machine", "pictures", "second_look", "without_face")


def verification(results: dict[str, Any], folder: str) -> str:
    """LFW's protocol."""
    rows = [
        (
            name,
            rate(figures["accuracy"], figures["accuracy_95"]),
            percents(figures["std"]),
            rate(figures["as_at_the_door"]["accuracy"], figures["as_at_the_door"]["accuracy_95"]),
            figures["pairs"],
            f"{figures['threshold_at_fmr']['1e-4']:.3f}",
            counted(figures["tmr_at_fmr"]["1e-4"], figures["pairs"] // 2),
        )
        for name, figures in results.items()
    ]
    pairs = next(iter(results.values()))["impostor_pairs"]
    columns = (
        "variant",
        "accuracy",
        "std of the folds",
        "as at the door",
        "pairs",
        "threshold at FMR 1e-4",
        "matches kept there",
    )
    text = (
        f"LFW's protocol: the threshold of nine folds judges the tenth. The thresholds for low false match rates come "
        f"from {pairs:,} pairs of different people; pairs share photos, so no interval is given for them. "
        "The protocol embeds both pictures of a pair alike; its accuracy is the one to compare with other people's. "
        '"As at the door" one of them is a reference, embedded together with its mirror image, and the other a plain '
        "probe: each picture once as either, and the mean of both scores. One pair is 0.017 %: all these variants lie "
        "within each other's intervals."
    )
    plots = (
        f"![FNMR against FMR]({folder}/verification-det.png)\n\n"
        f"![Scores of same and different people]({folder}/verification-scores.png)"
    )
    return f"## Verification\n\n{wrapped(text)}\n\n{md_table(columns, rows)}\n\n{plots}"


def identification(results: dict[str, Any], folder: str) -> str:
    """The open-set trial."""
    one = next(iter(results.values()))
    text = (
        f"The product's own task, open set: {one['gallery']} enrolled people with {one['references']} photos, "
        f"{one['probes']} probes of them, {one['strangers']:,} strangers. One probe is "
        f"{percents(1 / one['probes'])}: differences of a few probes mean nothing."
    )
    if one.get("references_mirrored"):
        text += (
            " References are embedded together with their mirror images, as at an enrolment; probes are not."
        )
    rows = [
        (
            name,
            rate(figures["fnir_at_fpir_1e-2"], figures["fnir_at_fpir_1e-2_95"]),
            f"{figures['threshold_at_fpir_1e-2']:.3f}",
            rate(figures["fnir_at_fpir_1e-3"], figures["fnir_at_fpir_1e-3_95"]),
            f"{figures['threshold_at_fpir_1e-3']:.3f}",
        )
        for name, figures in results.items()
    ]
    columns = ("variant", "FNIR at FPIR 1 %", "threshold", "FNIR at FPIR 0.1 %", "threshold")
    rare = f"FPIR 0.1 % rests on {one['alarms_at_fpir_1e-3']} of {one['strangers']:,} strangers: a rough threshold."
    if one.get("wrong_labels"):
        rare += (
            f" Of the probes, {', '.join(one['wrong_labels'])} shows, to the eye, somebody else than the other photos "
            "under that name: a label error of the data. It is counted like the others; without it, FNIR is "
            f"{percents(1 / one['probes'])} lower wherever it is missed."
        )
    plot = f"![FNIR against FPIR]({folder}/identification.png)"
    return f"## Identification\n\n{wrapped(text)}\n\n{md_table(columns, rows)}\n\n{wrapped(rare)}\n\n{plot}"


def galleries(results: dict[str, list[dict[str, Any]]], folder: str) -> str:
    """FNIR against the gallery's size."""
    text = (
        "FNIR at FPIR 1 %, each gallery with the threshold that its strangers set. Small galleries are random choices "
        "among the enrolled, searched for with their own probes. Beyond them the same probes are searched for, and the "
        "gallery is filled up with random other LFW people of whom there are two photos or more (up to five are "
        "references). Least and most: over the choices. The choices overlap, so the interval is that of the nearest "
        "whole number of misses among the distinct probes."
    )
    rows = [
        (
            name,
            point["subjects"],
            point["draws"],
            point["probes"],
            rate(point["fnir"], point["fnir_95"]),
            f"{percents(point['fnir_least'])} to {percents(point['fnir_most'])}",
            f"{point['threshold']:.3f}",
        )
        for name, points in results.items()
        for point in points
    ]
    columns = ("variant", "subjects", "choices", "probes", "mean FNIR", "least to most", "mean threshold")
    plot = f"![FNIR against the gallery's size]({folder}/galleries.png)"
    return f"## The size of the gallery\n\n{wrapped(text)}\n\n{md_table(columns, rows)}\n\n{plot}"


def detection(results: dict[str, Any], folder: str) -> str:
    """Recall and false alarms."""
    rows = [
        (
            name,
            rate(figures["recall"], figures["recall_95"]),
            f"{figures['found']} of {figures['faces']}",
            figures["false_alarms"],
            figures["pictures"],
        )
        for name, figures in results.items()
    ]
    columns = ("set", "recall", "faces", "false alarms", "pictures")
    text = "A face is found where boxes overlap by IoU 0.4. Without a size the detector is the default one."
    plot = f"![Recall by face size]({folder}/detection.png)"
    return f"## Detection\n\n{text}\n\n{md_table(columns, rows)}\n\n{plot}"


def conditions(name: str, degraded: dict[str, Any], folder: str, clean_strangers: int) -> str:
    """How photos were degraded, and a table a curve."""
    curves, gate = degraded["curves"], degraded["gate"]
    clean = curves["none"][0]
    text = (
        f"Variant {name}. The references stay clean; {clean['probes']} probes and {clean['strangers']} randomly chosen "
        f"strangers (always the same ones) are degraded. The threshold, {degraded['threshold']:.3f}, is the one for "
        f"FPIR 1 % on all {clean_strangers:,} clean strangers and stays where it is, as on a door: so the FPIR under "
        f"each condition is told, too. A photo is scaled until its face is {degraded['face_px']:g} px wide (where that "
        f"enlarges it, no detail comes) and laid in the middle of a grey {gate['frame_width_px']}x"
        f"{gate['frame_height_px']} picture. The default detector sees that at a quarter of its size, "
        f"at its own threshold. {degraded['without_box']} photos without a face to measure were left out."
    )
    limits = (
        f"All: every face that is found is compared; one that is not found is a miss. Accepted: those that the default "
        f"limits let through to the embedder (face at least {gate['min_face_px']:g} px wide, turned at most "
        f"{gate['max_yaw_deg']:g} degrees aside, {gate['max_pitch_deg']:g} up or down and tilted at most "
        f"{gate['max_roll_deg']:g}, quality at least {gate['min_quality']:g}). Refused: not found, or not let "
        f"through. Wrong name: somebody else reached the threshold first."
    )
    parts = [f"## Bad conditions\n\n{wrapped(text)}\n\n{wrapped(limits)}"]
    for curve, (title, level, form, note, plot) in CURVES.items():
        rows = [condition_row(form(point["level"]), point) for point in curves[curve]]
        figure = f"\n\n![{title}]({folder}/{plot})" if plot else ""
        noted = f"{wrapped(note.format(**degraded))}\n\n" if note else ""
        parts.append(f"### {title}\n\n{noted}{md_table((level, *CONDITION_COLUMNS), rows)}{figure}")
    return "\n\n".join([*parts, turned(degraded), quality(degraded, folder)])


def percent_level(level: Any) -> str:
    """A share as a level: 0.05 is 5 %."""
    return f"{100 * level:g} %"


CONDITION_COLUMNS = (
    "FNIR, all",
    "refused",
    "FNIR, accepted",
    "wrong name, all",
    "FPIR, all",
    "FPIR, accepted",
)
DARKNESS = (
    "Linear light is scaled down; white is {full_scale_e:g} electrons, with their shot noise and {read_noise_e:g} "
    "electrons of read noise. No gain follows: a camera at the end of its exposure."
)
# The curve: its title, what its level is, how that is written, what is to be known, its plot.
CURVES: dict[str, tuple[str, str, Any, str, str]] = {
    "none": ("Nothing but the size", "face, px", str, "", ""),
    "width": (
        "Width of the face, default detector",
        "face, px",
        str,
        "In the plot beside it: the detector of the larger input, and photos that are the whole picture.",
        "width.png",
    ),
    "width_door_large": ("Width of the face, detector with 640x480 input", "face, px", str, "", ""),
    "width_close": (
        "Width of the face where the detector sees every pixel",
        "face, px",
        str,
        "The photo is the whole picture: what the embedder can do, apart from what the detector misses in a wide view.",
        "",
    ),
    "motion": (
        "Motion blur",
        "of the face's width",
        percent_level,
        "A level line, averaged in linear light.",
        "motion.png",
    ),
    "light": (
        "Darkness with sensor noise",
        "light left",
        percent_level,
        DARKNESS,
        "light.png",
    ),
    "jpeg": ("JPEG", "quality", str, "Chroma at half the resolution.", "jpeg.png"),
    "worn": (
        "Mask, sunglasses, cap",
        "worn",
        str,
        "Flat polygons by the clean photo's landmarks: they hide what the real ones hide, and do not look like them.",
        "",
    ),
}


def condition_row(level: str, point: dict[str, Any]) -> tuple[Any, ...]:
    """One line of a condition's table."""
    refused = point["probes"] - point["accepted_probes"]
    reasons = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in point["refused"].items())
    share = rate(refused / point["probes"], point["refused_share_95"])
    return (
        level,
        rate(point["fnir"], point["fnir_95"]),
        f"{share}: {reasons}" if reasons else share,
        rate(point["accepted_fnir"], point["accepted_fnir_95"]),
        counted(point["mistaken"] / point["probes"], point["probes"]),
        rate(point["fpir"], point["fpir_95"]),
        rate(point["accepted_fpir"], point["accepted_fpir_95"]),
    )


def turned(degraded: dict[str, Any]) -> str:
    """The probes by yaw."""
    rows = [
        (f"{point['from_deg']} to {point['to_deg']}", point["probes"], rate(point["fnir"], point["fnir_95"]))
        for point in degraded["yaw"]
    ]
    far = sum(point["probes"] for point in degraded["yaw"] if point["from_deg"] >= 30)
    text = (
        f"Nothing was turned artificially: the clean probes are sorted by how far they look aside, as the five "
        f"landmarks tell (within some ten degrees). Only {far} look 30 degrees or more aside: "
        f"too few to say much about profiles."
    )
    return f"### Yaw\n\n{wrapped(text)}\n\n{md_table(('degrees', 'probes', 'FNIR'), rows)}"


def quality(degraded: dict[str, Any], folder: str) -> str:
    """Error by sample quality."""
    rows = [
        (f"{point['from']:g} to {point['to']:g}", point["probes"], rate(point["fnir"], point["fnir_95"]))
        for point in degraded["quality"]
    ]
    text = (
        "All found probes of all conditions above that were laid in a door's picture, by sample quality. Each probe is "
        "in it once a condition: the intervals take them as independent, which they are not, and are too narrow."
    )
    table = md_table(("quality", "searches", "FNIR"), rows)
    return f"### Quality against error\n\n{wrapped(text)}\n\n{table}\n\n![Quality against error]({folder}/quality.png)"
