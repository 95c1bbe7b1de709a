# SPDX-License-Identifier: Apache-2.0
"""Writes docs/liveness.md from `porter evaluate --attacks`: python -m device.measure.liveness_page JSON PAGE.

Beside the page, in the folder PAGE without its suffix, it puts the numbers (attacks.json). No figure is written by
hand, and a run that was partial makes no page. What may surprise: the advice at the end stands whatever they say.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.errors import InputError
from device.measure.accuracy_tables import md_table, rate, wrapped
from device.measure.report import page_command, percent, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

SECTIONS = ("matches", "parallax", "cues", "about")
HINT = "`make attacks DATA=folder` measures all of it"
KINDS = {
    "bona_fide": "bona fide",
    "print_held": "a print, held",
    "print_turned": "a print, turned",
    "print_bent": "a print, bent and turned",
    "print_bending": "a print, bent again and again",
    "replay_coarse": "a clip on a coarse screen",
    "replay_fine": "a clip on a fine screen",
    "screen_coarse": "on a coarse screen",
    "screen_medium": "on a medium screen",
    "screen_fine": "on a fine screen",
    "print": "printed",
}
RULES = {"only_live_passes": "only `live` passes", "only_flat_is_refused": "only `flat` is refused"}
CUES = {
    "moire": "Moire: the highest peak of the face's spectrum above its ring's median. Finds a screen's grid.",
    "contrast": "Contrast: the luma's spread over its mean. Prints are flatter.",
    "colour": "Colour: the mean distance of the colour channels. Prints are paler.",
}

HEAD = """\
# Photos and screens held up to the camera

Written by `make attacks DATA=folder` from the numbers in [{folder}/attacks.json]({folder}/attacks.json).

**Never open a door on a face alone.** Porter does not tell a face from a picture of one: `liveness` in its events is
always `{{"method": "none", "result": null}}`. This page shows what a picture of an enrolled person does at the camera,
what was tried against it, how that fared, and what to do instead.

Words (ISO/IEC 30107-3): a presentation attack holds up a picture, a screen or a mask; a bona fide presentation is the
person. APCER: the share of attacks of one kind that get by; the worst kind is the figure that counts. BPCER: the share
of bona fide presentations that are refused. IAPAR: the share of attacks on an enrolled person that match. Shares are
followed by their 95 % interval (Wilson).
"""

HOW = """\
## How it was measured, and what that is worth

Bona fide: {people} people in three short clips who walk up, stand or turn their heads. Attacks were drawn, not filmed:
{print_photos} photos of strangers and a frame of every person in the clips as prints in somebody's hand, the clips
themselves on screens, through the optics of a drawn 1280 x 720 camera, the face about 200 px wide. Prints have halftone
dots, less contrast and some shine; screens have pixel stripes that alias into moire, gamma, a glare and rolling bands.
Each presentation lasts three to five seconds at {rate_hz:g} frames a second and goes through the product's own detector
and tracks. A track shorter than {shortest} frames says nothing.

Thresholds allow {allowed} errors on one half of the photos; the other half judges them.

- {people} bona fide presentations are far too few for a BPCER: look at the intervals. They cannot show that something
  works; they can show that it does not.
- Drawn attacks are the attacks that we thought of. There is no mask, no head made of paper, nobody who practises, no
  motion blur, no reflection.
- The photos are smaller than a face before this camera and were scaled up, so their bona fide frames have little fine
  detail. That flatters the moire cue.
- {caveat}
"""

ADVICE = """\
## What to do instead

- Take a face as *who probably stands there*, never as a key. Porter's message may light a lamp, greet, prepare a visit
  or fill in a name.
- For a lock, have the door controller ask for a second factor of another kind: a PIN, a card, a key fob, the
  person's own telephone near by (Bluetooth, or an answer on its screen). The face then only spares them to say who.
- Rules at the controller, not at the camera: only at hours at which the person is expected, only so many tries, a lock
  that opens from inside without any of this, and a log of its own.
- Where somebody watches the door, let the match ask them, with a button that opens.
- A camera at a place that people see makes holding up a photo harder than one in a dark corner. That is no defence
  against somebody who wants to.

An example, for a controller that subscribes to `match`:

```python
def may_open(event: dict, pin_is_right: bool, now: datetime) -> bool:
    # The PIN is the key; the face only says whose PIN it has to be.
    live = event["delivery"] == "live" and now < datetime.fromisoformat(event["valid_until"])
    return live and event["phase"] == "start" and pin_is_right
```
"""


def page(figures: dict[str, Any], folder: str) -> str:
    """The whole page. folder: of the numbers, beside the page."""
    about = figures["about"]
    sections = [
        HEAD.format(folder=folder),
        HOW.format(**{key: about[key] for key in ABOUT}, allowed=percent(about["allowed"], 0)),
        matching(figures["matches"]),
        parallax(figures["parallax"], about["allowed"]),
        *(cue(name, figures["cues"][name], about["allowed"]) for name in CUES),
        ADVICE,
    ]
    return "\n".join(section.rstrip() + "\n" for section in sections)


ABOUT = ("people", "print_photos", "rate_hz", "shortest", "caveat")


def matching(kinds: dict[str, Any]) -> str:
    """What an attack on an enrolled person does without any defence."""
    rows = [(KINDS[kind], of(each), rate(each["share"], each["share_95"])) for kind, each in kinds.items()]
    text = (
        "A photo of an enrolled person, another one than those they were enrolled with, in one frame, at the shipped "
        "threshold. On the first line the same photo stands for the person (bona fide); on the others the share is "
        "the IAPAR."
    )
    return f"## What matches\n\n{wrapped(text)}\n\n{md_table(('', 'match', 'share'), rows)}"


def parallax(figures: dict[str, Any], allowed: float) -> str:
    """What the motion of five landmarks says."""
    kinds = bona_fide_first(figures["kinds"])
    reach = math.floor(allowed * figures["set_on"] + 1e-9)
    rows = [
        (
            KINDS[kind],
            each["presentations"],
            each["live"],
            each["flat"],
            each["null"],
            "-" if each["depth"] is None else f"{each['depth'][1]:.3f}",
            *(rate(each[rule]["share"], each[rule]["share_95"]) for rule in RULES),
        )
        for kind, each in kinds.items()
    ]
    text = (
        "Eyes, nose tip and mouth corners over the track: those of a flat picture move as points of a plane, those of "
        "a head that turns do not, since the nose stands off. The depth is what no plane explains, in shares of the "
        f"face's size. `live` from {figures['live_from']:.3f} (set on {figures['set_on']} flat prints, of which "
        f"{reach} reach it); `flat`: less, although eyes and mouth were foreshortened (by {figures['flat_turn']:g} or "
        "more). Who stands still shows neither. The last two columns: errors, which is BPCER on the first line and "
        "APCER on the others."
    )
    header = ("", "n", "live", "flat", "cannot tell", "depth, median", *RULES.values())
    lines = [wrapped(f"With the rule *{name}*: {worst(kinds, rule)}") for rule, name in RULES.items()]
    return f"## Parallax\n\n{wrapped(text)}\n\n{md_table(header, rows)}\n\n" + "\n\n".join(lines)


def bona_fide_first(kinds: dict[str, Any]) -> dict[str, Any]:
    """The same, the line that all others are compared with on top."""
    return {kind: kinds[kind] for kind in sorted(kinds, key=lambda kind: kind != "bona_fide")}


def worst(kinds: dict[str, Any], rule: str) -> str:
    """The two figures that count, as a sentence."""
    attacks = {kind: each[rule] for kind, each in kinds.items() if kind != "bona_fide"}
    kind = max(attacks, key=lambda name: attacks[name]["share"] or 0.0)
    bona_fide = kinds["bona_fide"][rule]
    return (
        f"APCER {rate(attacks[kind]['share'], attacks[kind]['share_95'])} at its worst kind ({KINDS[kind]}), "
        f"BPCER {rate(bona_fide['share'], bona_fide['share_95'])}."
    )


def cue(name: str, figures: dict[str, Any], allowed: float) -> str:
    """One cue of one frame."""
    rows = [
        (where, KINDS[kind], of(each), rate(each["share"], each["share_95"]))
        for where, kinds in (("photo", figures["photos"]), ("seconds", figures["tracks"]))
        for kind, each in bona_fide_first(kinds).items()
    ]
    text = (
        f"{CUES[name]} Threshold {figures['threshold']:.3f}, for a BPCER of {percent(allowed, 0)} "
        f"on {figures['set_on']} photos. "
        "Errors: BPCER on the lines that are bona fide, APCER on the others; photo: one frame, seconds: the mean "
        "over a presentation."
    )
    return f"## {name.capitalize()}\n\n{wrapped(text)}\n\n{md_table(('', '', 'errors', 'share'), rows)}"


def of(counts: dict[str, Any]) -> str:
    """3 of 20."""
    return f"{counts['hits']} of {counts['trials']}"


def read_figures(path: Path) -> dict[str, Any]:
    """attacks.json, whole. Raises InputError."""
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}", hint=HINT) from error
    except ValueError as error:
        raise InputError(
            f"{path}: expected the JSON of `porter evaluate --attacks`: {error}", hint=HINT
        ) from error
    missing = [key for key in SECTIONS if not (isinstance(figures, dict) and figures.get(key))]
    if missing:
        raise InputError(f"{path}: expected a whole run, but {', '.join(missing)} is missing", hint=HINT)
    if figures["about"].get("partial") is not False:
        raise InputError(f"{path}: about.partial: expected a whole run, found a partial one", hint=HINT)
    return {key: figures[key] for key in SECTIONS}


def write_page(source: Path, target: Path) -> list[Path]:
    """Reads and writes; returns what was written. Raises InputError."""
    figures = read_figures(source)
    folder = target.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "attacks.json", figures)
    target.write_text(page(figures, folder.name), encoding="utf-8")
    return [folder / "attacks.json", target]


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 2 where no page can be made."""
    numbers, page_help = "attacks.json of a whole run", "the page, for example docs/liveness.md"
    return page_command("device.measure.liveness_page", numbers, page_help, write_page, argv)


if __name__ == "__main__":
    sys.exit(main())
