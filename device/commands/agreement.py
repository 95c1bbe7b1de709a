# SPDX-License-Identifier: Apache-2.0
"""A person's agreement to a consent text, for the verbs that rest on one: shown, asked for, hashed."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from device.commands.common import agreed, name
from device.control import MAX_POLICY_BYTES, policy_problem
from device.errors import InputError, PorterError

if TYPE_CHECKING:
    import argparse


@dataclass(frozen=True, slots=True)
class Agreement:
    """What was agreed to. recorded_by: None for the user who runs the command."""

    policy_text: str
    recorded_by: str | None


def add_agreement_arguments(parser: argparse.ArgumentParser) -> None:
    """Which text, and who says that it was agreed to."""
    parser.add_argument("--policy", required=True, type=Path, metavar="FILE", help="the consent text, UTF-8")
    parser.add_argument(
        "--yes", action="store_true", help="state that the person has read the consent text and agreed to it"
    )
    parser.add_argument(
        "--recorded-by", metavar="NAME", help="who records the consent (default: your user name)"
    )


def agreement(args: argparse.Namespace, question: str) -> Agreement:
    """Shows the text and asks the person. Raises InputError for a text that is none, PorterError without a yes."""
    recorder = name(args.recorded_by, "--recorded-by", 100) if args.recorded_by is not None else None
    policy = read_policy(args.policy)
    digest = hashlib.sha256(policy.encode()).hexdigest()
    if args.yes:
        print(f"consent text {args.policy} (SHA-256 {digest}): agreed to, as --yes states", file=sys.stderr)
    else:
        print(f"{policy.rstrip()}\n\n(SHA-256 {digest})\n", file=sys.stderr)
        if not agreed(question, flag="--yes"):
            raise PorterError("not agreed: nothing was changed")
    return Agreement(policy, recorder)


def read_policy(path: Path) -> str:
    """The consent text, byte for byte, so that its SHA-256 is the file's. Raises InputError."""
    hint = "write down what the person agrees to, as plain text of at most 64 KiB"
    try:
        with path.open("rb") as file:
            text = file.read(MAX_POLICY_BYTES + 1).decode("utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}", hint=hint) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start}: expected UTF-8 text", hint=hint) from None
    if problem := policy_problem(text):
        raise InputError(f"{path}: {problem}", hint=hint)
    return text
