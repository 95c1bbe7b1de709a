# SPDX-License-Identifier: Apache-2.0
"""Enrol the consenting person who stands before this device's camera.

Shows the consent text, asks the person to agree, and then follows the live capture with one hint at a time. Nothing
is stored before the last good sample; Ctrl-C at any moment leaves nothing.
"""

from __future__ import annotations

import shutil
import sys
import unicodedata
from typing import TYPE_CHECKING, TextIO

import msgspec

from device.commands.agreement import add_agreement_arguments, agreement
from device.commands.common import add_service_arguments, client, name
from device.control import (
    Enrolled,
    EnrolRequest,
    SubjectList,
    SubjectsRequest,
)
from device.errors import PorterError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from device.adapters.control_client import ControlClient
    from device.control import Progress, SubjectLine
    from device.records import EnrolmentSummary, PoseName, PoseState

INTERRUPTED = 130
AGAIN_AFTERMATH = "the capture is dropped; the references are the old ones, unless it was done at that moment"
SIGNS: Mapping[PoseState, str] = {"given": "✓", "asked": "›", "open": "·", "skipped": "–"}
ASCII_SIGNS: Mapping[PoseState, str] = {"given": "+", "asked": ">", "open": ".", "skipped": "-"}
# A frame of an enrolment takes several inferences: longer, on a board that is far too busy, than a question may take,
# and to give up throws away what the person has given so far. A service that hangs is the watchdog's business.
CAPTURE_SILENCE_S = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--label", help="how the subject is called on this device")
    who.add_argument(
        "--again",
        metavar="LABEL-or-REF",
        help="new references and a new consent for who is enrolled so; the old ones stay until the new are stored",
    )
    add_agreement_arguments(parser)
    parser.add_argument(
        "--json", action="store_true", help="print progress and result as JSON, one object a line"
    )
    add_service_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Enrols; 0 done, 1 not agreed or not enrolled, 2 wrong use, 130 interrupted."""
    again = args.again is not None
    label = name(args.again, "--again") if again else name(args.label, "--label")
    service = client(args, silence_s=CAPTURE_SILENCE_S)
    what = "who is enrolled" if again else "to be enrolled"
    given = agreement(args, f"Does the person {what} as {label!r} agree to this?")
    request = EnrolRequest(
        label, given.policy_text, acknowledged=True, recorded_by=given.recorded_by, again=again
    )
    view = ProgressView(sys.stdout, as_json=args.json)
    try:
        enrolled = service.ask(request, Enrolled, view.show)
    except KeyboardInterrupt:
        view.end_line()
        left = AGAIN_AFTERMATH if again else aftermath(service, label)
        print(f"porter: interrupted: {left}", file=sys.stderr)
        return INTERRUPTED
    except PorterError:
        view.end_line()
        raise
    view.finish(enrolled)
    return 0


def aftermath(service: ControlClient, label: str) -> str:
    """What an interrupted enrolment left. Asked of the service, since it may have finished at the last moment."""
    try:
        found = service.ask(SubjectsRequest(), SubjectList).subjects
    except PorterError as error:
        return f"the capture is dropped; what is stored could not be asked: {error.message}"
    if any(one.label == unicodedata.normalize("NFC", label).strip() for one in found):
        return f"the capture is dropped, but {label!r} is enrolled: see porter subjects"
    return "the capture is dropped, nothing is stored"


class ProgressView:
    """Shows an enrolment: one line drawn again and again on a terminal, else a line whenever something changed."""

    def __init__(self, out: TextIO, *, as_json: bool = False, columns: int | None = None) -> None:
        self._out = out
        self._as_json = as_json
        self._redraw = not as_json and out.isatty()
        self._columns = columns or shutil.get_terminal_size().columns
        self._signs = signs_for(out)
        self._shown = ""
        self._open = False

    def show(self, progress: Progress) -> None:
        """Shows how far it is."""
        if self._as_json:
            self._line(msgspec.json.encode(progress).decode())
            return
        text = f"{poses_line(progress.poses, self._signs)}{progress.taken}/{progress.needed}  {progress.hint}"
        if self._redraw:
            text = f"{text}  ({progress.seconds_left:.0f} s left)"[: self._columns - 1]
            self._out.write(f"\r\x1b[K{text}")
            self._out.flush()
            self._open = True
        elif self._shown != text:
            self._shown = text
            self._line(text)

    def finish(self, enrolled: Enrolled) -> None:
        """Shows the result."""
        self.end_line()
        if self._as_json:
            self._line(msgspec.json.encode(enrolled).decode())
            return
        self._line(sentence(enrolled.subject))
        self._line(quality_lines(enrolled.summary))

    def end_line(self) -> None:
        """Leaves the line that is drawn again and again."""
        if self._open:
            self._line("")
            self._open = False

    def _line(self, text: str) -> None:
        print(text, file=self._out, flush=True)


def signs_for(out: TextIO) -> Mapping[PoseState, str]:
    """How poses are marked: with check marks where the output can show them, in ASCII elsewhere."""
    try:
        "".join(SIGNS.values()).encode(out.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII_SIGNS
    return SIGNS


def poses_line(poses: Mapping[PoseName, PoseState], signs: Mapping[PoseState, str]) -> str:
    """`front ✓ left ✓ right › up · down ·` and two blanks; nothing where no poses were told."""
    return "".join(f"{name} {signs[state]} " for name, state in poses.items()) + (" " if poses else "")


def sentence(subject: SubjectLine) -> str:
    """The result in words."""
    return (
        f"enrolled {subject.label} as {subject.ref} with {subject.references} references; "
        f"consent {subject.consent} ends on {subject.until}"
    )


def quality_lines(summary: EnrolmentSummary) -> str:
    """What the references are worth, in numbers and in a sentence."""
    nearest = "nobody else is enrolled" if summary.nearest is None else f"{summary.nearest:.2f}"
    weakest = f"weakest part: {summary.weakest} {summary.weakest_quality:.2f}"
    return (
        f"quality: {summary.sentence}\n"
        f"  poses {', '.join(summary.poses)}; {weakest if summary.weakest_quality < 1.0 else 'no weak part'}\n"
        f"  alike among themselves {summary.similarity:.2f}; nearest other subject: {nearest}"
    )
