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

    from device.adapters.control_client import ControlClient
    from device.control import Progress, SubjectLine

INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("--label", required=True, help="how the subject is called on this device")
    add_agreement_arguments(parser)
    parser.add_argument(
        "--json", action="store_true", help="print progress and result as JSON, one object a line"
    )
    add_service_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Enrols; 0 done, 1 not agreed or not enrolled, 2 wrong use, 130 interrupted."""
    label = name(args.label, "--label")
    service = client(args)
    given = agreement(args, f"Does the person to be enrolled as {label!r} agree to this?")
    request = EnrolRequest(label, given.policy_text, acknowledged=True, recorded_by=given.recorded_by)
    view = ProgressView(sys.stdout, as_json=args.json)
    try:
        enrolled = service.ask(request, Enrolled, view.show)
    except KeyboardInterrupt:
        view.end_line()
        print(f"porter: interrupted: {aftermath(service, label)}", file=sys.stderr)
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
        self._shown = ("", -1)
        self._open = False

    def show(self, progress: Progress) -> None:
        """Shows how far it is."""
        if self._as_json:
            self._line(msgspec.json.encode(progress).decode())
            return
        text = f"{bar(progress.taken, progress.needed)}  {progress.hint}"
        if self._redraw:
            text = f"{text}  ({progress.seconds_left:.0f} s left)"[: self._columns - 1]
            self._out.write(f"\r\x1b[K{text}")
            self._out.flush()
            self._open = True
        elif self._shown != (progress.hint, progress.taken):
            self._shown = (progress.hint, progress.taken)
            self._line(text)

    def finish(self, enrolled: Enrolled) -> None:
        """Shows the result."""
        self.end_line()
        self._line(msgspec.json.encode(enrolled).decode() if self._as_json else sentence(enrolled.subject))

    def end_line(self) -> None:
        """Leaves the line that is drawn again and again."""
        if self._open:
            self._line("")
            self._open = False

    def _line(self, text: str) -> None:
        print(text, file=self._out, flush=True)


def bar(taken: int, needed: int) -> str:
    """`[###--] 3/5`."""
    return f"[{'#' * taken}{'-' * (needed - taken)}] {taken}/{needed}"


def sentence(subject: SubjectLine) -> str:
    """The result in words."""
    return (
        f"enrolled {subject.label} as {subject.ref} with {subject.references} references; "
        f"consent {subject.consent} ends on {subject.until}"
    )
