# SPDX-License-Identifier: Apache-2.0
"""The part of docs/accuracy.md on what an enrolment refuses, and what bad references would do. Pure text."""

from __future__ import annotations

from typing import Any

from device.measure.accuracy_tables import md_table, rate, wrapped

# The curve: what its level is, as a format of the level.
LEVELS = {
    "width": "face {:g} px wide, default detector",
    "width_door_large": "face {:g} px wide, detector 640x480",
    "motion": "motion over {:.0%} of the face's width, along four lines",
    "defocus": "defocus, sigma {:.0%} of the face's width",
    "light": "{:.0%} of the light, sensor noise",
    "gain": "{:.0%} of the light, sensor noise, gain",
    "yaw": "turned {:g} degrees aside, default detector",
    "yaw_door_large": "turned {:g} degrees aside, detector 640x480",
    "jpeg": "JPEG quality {:g} (no limit: a camera's frames are not compressed)",
}
GOOD_REFUSED = 0.05
GALLERIES = {"all": "all", 2: "2 of each subject's", 0: "none"}


def enrolment_section(degraded: dict[str, Any]) -> str:
    """Both tables; nothing where a run did not measure them."""
    if "enrolment" not in degraded:
        return ""
    return f"{samples_part(degraded)}\n\n{poisoned_part(degraded)}"


def samples_part(degraded: dict[str, Any]) -> str:
    """Which samples an enrolment refuses."""
    figures, gate = degraded["enrolment"], degraded["gate"]
    good, beyond = figures["good"], figures["beyond"]
    text = (
        "What an enrolment takes: samples that present themselves, of a quality of at least "
        f"{gate['enrolment_min_quality']:g}. Good samples are the enrolled people's photos as they are, turned at most "
        f"{figures['frontal_deg']:g} degrees and at least {gate['min_face_px']:g} px wide; none was sorted out for "
        "being blurred. The others are those of the references, degraded to a limit and beyond. The heads were turned "
        "aside by geometry, on an ellipsoid with a nose."
    )
    missed = beyond["taken"]
    verdict = (
        f"- Beyond the limits {rate(beyond['refused'], beyond['refused_95'])} of {beyond['samples']:,} are refused"
        + (": all of them." if not missed else f"; **{missed} are taken**.")
    )
    kept = (
        f"- Of {good['samples']} good samples {rate(good['refused'], good['refused_95'])} are refused; at most 5 % was "
        f"asked for: {'met' if good['refused'] <= GOOD_REFUSED else '**not met**'}."
    )
    rows = [
        (
            LEVELS[level["curve"]].format(level["level"]),
            level["samples"],
            rate(level["refused"], level["refused_95"]),
            level["taken"],
            ", ".join(f"{count} {why.replace('_', ' ')}" for why, count in level["reasons"].items()),
        )
        for level in figures["levels"]
    ]
    table = md_table(("samples", "count", "refused", "taken", "why"), rows)
    return f"## Samples at enrolment\n\n{wrapped(text)}\n\n{verdict}\n{kept}\n\n{table}"


def poisoned_part(degraded: dict[str, Any]) -> str:
    """What bad references do."""
    text = (
        "Bad references are how galleries fail in the field: users of another recorder who enrolled blurred pictures "
        "saw nearly every stranger matched (blakeblackshear/frigate#23450). Here all or some of everybody's references "
        "are degraded one way, whether the door would take them or not, and then with Porter's refusal. Probes and "
        "strangers are clean; bad strangers are degraded like the references, as bad light or haste befalls everybody. "
        f"The threshold is the one above, {degraded['threshold']:.3f}; where nobody is left to be enrolled, nobody is "
        "found, and the person is asked to try again."
    )
    rows = [
        (
            LEVELS[line["poison"]].format(line["level"]).split(", default")[0].split(", along")[0],
            GALLERIES[line["bad_references"]],
            "yes" if line["refusing"] else "no",
            f"{line['references']} of {line['subjects']}",
            rate(line["fnir"], line["fnir_95"]),
            rate(line["fpir"], line["fpir_95"]),
            rate(line["bad_fpir"], line["bad_fpir_95"]),
        )
        for line in degraded["poisoned"]
    ]
    columns = (
        "degraded",
        "bad references",
        "refused by Porter",
        "references of subjects",
        "FNIR",
        "FPIR",
        "FPIR, bad strangers",
    )
    return f"## Poisoned galleries\n\n{wrapped(text)}\n\n{md_table(columns, rows)}"
