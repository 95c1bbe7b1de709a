# SPDX-License-Identifier: Apache-2.0
"""Draws the pictures of docs/install.md and docs/recovery.md, and writes the tables that are computed into the pages.

`python -m docs.install.draw` (part of `make docs`) writes; with `--check` it says what is not up to date and exits
with 1. Pictures are SVG by hand: boxes, arrows, text, large enough for a phone. Nobody in them is real.
"""

from __future__ import annotations

import argparse
import re
import sys
from html import escape
from pathlib import Path

from docs.install.aiming import CAMERAS, DEFAULT_SHARE, distances, heights

FOLDER = Path(__file__).resolve().parent
INK, PAPER, SOFT, MARK = "#1c2430", "#ffffff", "#e8edf3", "#c8641b"
FONT = 'font-family="DejaVu Sans, Verdana, sans-serif"'
TIP = (
    '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9" markerHeight="9"'
    f' orient="auto-start-reverse"><path d="M0 0 10 5 0 10z" fill="{INK}"/></marker></defs>'
)


class Sheet:
    """One picture. Units are those of the viewBox; `text` is 22 high unless told."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" {FONT}>',
            f"<title>{escape(title)}</title>",
            TIP,
            f'<rect width="{width}" height="{height}" fill="{PAPER}"/>',
        ]

    def box(self, x: float, y: float, width: float, height: float, *lines: str, fill: str = SOFT) -> None:
        """A rectangle with lines of text in its middle."""
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8" fill="{fill}"'
            f' stroke="{INK}" stroke-width="2"/>'
        )
        first = y + height / 2 - (len(lines) - 1) * 14 + 8
        for number, line in enumerate(lines):
            self.text(x + width / 2, first + 28 * number, line, anchor="middle", bold=number == 0)

    def text(
        self, x: float, y: float, line: str, *, anchor: str = "start", size: int = 22, bold: bool = False
    ) -> None:
        """One line."""
        weight = ' font-weight="bold"' if bold else ""
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}"{weight} fill="{INK}">'
            f"{escape(line)}</text>"
        )

    def path(
        self, d: str, *, fill: str = "none", stroke: str = INK, width: float = 3, more: str = ""
    ) -> None:
        """Any path."""
        self._parts.append(f'<path d="{d}" fill="{fill}" stroke="{stroke}" stroke-width="{width:g}"{more}/>')

    def arrow(self, d: str, *, both: bool = False) -> None:
        """A path with a tip at its end, or at both."""
        start = ' marker-start="url(#tip)"' if both else ""
        self.path(d, width=2.5, more=f'{start} marker-end="url(#tip)"')

    def circle(self, x: float, y: float, radius: float, *, fill: str = SOFT) -> None:
        """A circle."""
        self._parts.append(
            f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{fill}" stroke="{INK}" stroke-width="3"/>'
        )

    def svg(self) -> str:
        """The file."""
        return "\n".join([*self._parts, "</svg>", ""])


def parts() -> str:
    """What plugs into what."""
    sheet = Sheet(
        760, 560, "A Raspberry Pi with camera, card, power, network and an Edge TPU, which may be left out"
    )
    sheet.box(250, 190, 270, 190, "Raspberry Pi", "4 or 5, 1 GB or more")
    sheet.box(30, 30, 220, 110, "Camera", "CSI ribbon,", "or USB")
    sheet.arrow("M170 140V230H250")
    sheet.box(510, 30, 220, 110, "microSD card", "8 GB or more,", "from flash.sh")
    sheet.arrow("M610 140V230H520")
    sheet.box(30, 430, 220, 110, "Power supply", "5 V, USB-C:", "the maker's own")
    sheet.arrow("M140 430V340H250")
    sheet.box(510, 430, 220, 110, "Network", "cable, or Wi-Fi", "by wifi.conf")
    sheet.arrow("M640 430V340H520")
    sheet.box(270, 430, 220, 110, "Coral USB", "may be left out;", "blue USB 3 port", fill=PAPER)
    sheet.arrow("M385 430V380")
    sheet.text(385, 170, "no monitor, no keyboard", anchor="middle")
    return sheet.svg()


def person(sheet: Sheet, x: float, ground: float, eyes_m: float, scale: float) -> None:
    """Somebody seen from the side, without a face. eyes_m: the height of the face's middle; scale: units a metre."""
    face = ground - eyes_m * scale
    head = 0.12 * scale
    sheet.circle(x, face, head)
    sheet.path(
        f"M{x:g} {face + head:g}V{ground - 0.8 * scale:g}M{x:g} {face + 0.3 * scale:g}l-20 60", width=6
    )
    sheet.path(
        f"M{x:g} {ground - 0.8 * scale:g}L{x - 18:g} {ground:g}M{x:g} {ground - 0.8 * scale:g}L{x + 18:g} {ground:g}",
        width=6,
    )


def aiming() -> str:
    """A camera at a door, from the side, to scale."""
    camera = CAMERAS[0]
    far = camera.farthest_m(DEFAULT_SHARE)
    half = camera.width_at_1_m * 720 / 1280 / 2
    scale, ground, wall, height = 250.0, 520.0, 60.0, 1.5
    lens_x, lens_y = wall + 40, ground - height * scale

    def x(metres: float) -> float:
        return lens_x + metres * scale

    sheet = Sheet(760, 620, f"A camera 1.5 m above the ground; faces are found up to {far:.1f} m away")
    sheet.path(
        f"M{x(0):g} {lens_y:g}L{x(far):g} {lens_y - half * far * scale:.1f}V{lens_y + half * far * scale:.1f}z",
        fill="#fbe6d6",
        stroke=MARK,
        width=2,
    )
    sheet.path(f"M20 {ground:g}H740", width=4)
    sheet.box(wall - 40, 60, 40, ground - 60, fill=SOFT)
    sheet.box(wall, lens_y - 16, 40, 32, fill=INK)
    person(sheet, x(1.4), ground, 1.55, scale)
    sheet.text(wall + 8, lens_y - 32, "camera")
    sheet.arrow(f"M{wall + 20:g} {lens_y + 22:g}V{ground - 4:g}", both=True)
    sheet.text(wall + 30, ground - 120, "1.5 m")
    sheet.arrow(f"M{x(0):g} {ground + 30:g}H{x(far):g}", both=True)
    sheet.text(x(far / 2), ground + 62, f"faces are found up to {far:.1f} m away", anchor="middle", size=24)
    sheet.text(x(far / 2), ground + 90, camera.name.replace(" (default)", ""), anchor="middle")
    sheet.path(f"M{x(far):g} 60V{ground:g}", stroke=MARK, more=' stroke-dasharray="10 8"')
    sheet.text(x(far) + 10, 112, "beyond:")
    sheet.text(x(far) + 10, 140, "missed")
    sheet.text(x(0.72), 50, "light on the face, no sun behind it", anchor="middle")
    return sheet.svg()


def zone() -> str:
    """What the camera sees, and the zone drawn into it."""
    sheet = Sheet(
        760,
        480,
        "The picture of the camera with a zone around the place before the door; the pavement is outside",
    )
    sheet.box(20, 20, 720, 405, fill="#f4f6f9")
    sheet.path("M20 150H740", stroke="#8a94a3", width=2)
    sheet.text(30, 182, "pavement", size=20)
    sheet.path("M164 60L596 60L668 425L92 425z", fill="#fbe6d6", stroke=MARK, more=' stroke-dasharray="12 8"')
    sheet.text(380, 410, "zone.polygon", anchor="middle", bold=True)
    sheet.circle(380, 215, 50)
    sheet.path("M300 372Q300 280 380 275Q460 280 460 372", width=4)
    sheet.arrow("M330 145H430", both=True)
    sheet.text(380, 128, "min_face_px", anchor="middle")
    sheet.circle(690, 185, 16)
    sheet.path("M670 240Q670 210 690 207Q710 210 710 240", width=3)
    for x, y, corner, anchor in (
        (150, 52, "0.2, 0.1", "end"), (610, 52, "0.8, 0.1", "start"),
        (92, 462, "0.1, 1.0", "middle"), (668, 462, "0.9, 1.0", "middle"),
    ):  # fmt: skip
        sheet.text(x, y, corner, anchor=anchor)
    return sheet.svg()


def card() -> str:
    """The partitions of the card."""
    sheet = Sheet(760, 430, "The card: settings, two slots of the system, and the data of this device")
    sheet.box(20, 60, 140, 160, "1", "autoboot", "FAT, 64 MB", fill="#fbe6d6")
    sheet.box(170, 60, 110, 75, "2", "boot-a")
    sheet.box(170, 145, 110, 75, "3", "boot-b")
    sheet.box(290, 60, 170, 75, "4", "root-a")
    sheet.box(290, 145, 170, 75, "5", "root-b")
    sheet.box(470, 60, 270, 160, "6", "data", "the rest of the card", fill="#fbe6d6")
    sheet.text(20, 40, "settings", bold=True)
    sheet.text(170, 40, "system, twice, read-only", bold=True)
    sheet.text(530, 40, "this device", bold=True)
    sheet.path("M90 220V262", width=2)
    sheet.text(20, 290, "any computer opens it:")
    sheet.text(20, 320, "put files into porter/")
    sheet.path("M600 220V262", width=2)
    sheet.text(420, 290, "gallery, consent ledger,")
    sheet.text(420, 320, "outbox, configuration,")
    sheet.text(420, 350, "sealed passwords and keys")
    sheet.text(20, 405, "An update writes the slot that does not run.")
    return sheet.svg()


def update() -> str:
    """What an update goes through."""
    sheet = Sheet(760, 560, "An update: installed beside, tried once, and kept only when it is well")
    sheet.box(20, 40, 250, 100, "A runs", "porter update FILE")
    sheet.arrow("M270 90H418")
    sheet.box(420, 40, 320, 100, "A runs, B is new", "nothing has changed yet")
    sheet.arrow("M580 140V228")
    sheet.text(592, 192, "reboot")
    sheet.box(420, 230, 320, 100, "B is tried, once", "services, camera, broker?", fill="#fbe6d6")
    sheet.arrow("M580 330V418")
    sheet.text(592, 382, "well")
    sheet.box(420, 420, 320, 100, "B runs", "A is the way back")
    sheet.arrow("M420 280H272")
    sheet.text(345, 262, "not well", anchor="middle")
    sheet.text(345, 314, "power cut", anchor="middle")
    sheet.box(20, 230, 250, 100, "A runs again", "and says why")
    sheet.arrow("M145 230V142")
    sheet.text(30, 462, "The gallery, the configuration")
    sheet.text(30, 492, "and all other data are the")
    sheet.text(30, 522, "same for A and B.")
    return sheet.svg()


def sign() -> str:
    """The sign at the door, as it may look."""
    sheet = Sheet(760, 470, "A sign: a camera at this door recognises people who asked to be recognised")
    sheet.box(20, 20, 720, 430, fill="#fffdf6")
    sheet.path("M60 70h90l24 -20v80l-24 -20h-90z", fill=INK)
    sheet.text(200, 82, "A camera at this door", size=30, bold=True)
    sheet.text(200, 120, "recognises people who asked to be.", size=25, bold=True)
    lines = (
        "Stand before it and look at it, and your face is compared,",
        "for a moment, in the device, with those who enrolled here.",
        "If you are not one of them, nothing about you is kept.",
        "No picture is stored or sent.",
        "You do not want that? Use THE OTHER WAY IN.",
        "Responsible: NAME, CONTACT.",
        "More, and how to withdraw: ADDRESS OR PLACE.",
    )
    for number, line in enumerate(lines):
        sheet.text(60, 190 + 38 * number, line, size=20, bold=number == 4)
    return sheet.svg()


PICTURES = {
    "parts.svg": parts,
    "aiming.svg": aiming,
    "zone.svg": zone,
    "card.svg": card,
    "update.svg": update,
    "sign.svg": sign,
}
TABLES = {"distances": distances, "heights": heights}


def with_tables(page: str) -> str:
    """The page with each table between its two marks as it is computed now."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name}: python -m docs.install.draw -->\n", f"<!-- end of {name} -->"
        page = re.sub(f"(?s){re.escape(begin)}.*?{re.escape(end)}", lambda _: begin + table() + end, page)  # noqa: B023
    return page


def files() -> dict[Path, str]:
    """Everything that this writes."""
    made = {FOLDER / name: draw() for name, draw in PICTURES.items()}
    page = FOLDER.parent / "install.md"
    return made | {page: with_tables(page.read_text("utf-8"))}


def main(arguments: list[str] | None = None) -> int:
    """Writes, or with --check compares; 1 where something is not up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    checking = parser.parse_args(arguments).check
    stale = {
        file: text for file, text in files().items()
        if not file.exists() or file.read_text("utf-8") != text
    }  # fmt: skip
    for file, text in stale.items():
        name = file.relative_to(FOLDER.parents[1])
        if checking:
            print(f"{name}: not up to date; hint: make docs")
        else:
            file.write_text(text, "utf-8")
            print(f"wrote {name}")
    return int(checking and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
