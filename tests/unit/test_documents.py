# SPDX-License-Identifier: Apache-2.0
"""The documents hold together: links and anchors lead somewhere, and troubleshooting knows what the code can say.

What a device may say is read from the code: alert codes, the doctor's checks, and who raises errors that a person must
act on. Something new fails here until docs/troubleshooting.md leads to it.
"""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest

from device.announcements import KNOWN_ALERTS
from device.cli import VERBS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.md"
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`]+)`")
OPTION = re.compile(r'[a-z_."]+: \S+')  # `camera.source: usb`
HEADING = re.compile(r"(?m)^#{1,6} (.+)$")
WORDS = ("InputError", "ConfigError", "SettingError")  # exit code 2: a person must act
# Who says something that a person must act on, and where on the page its answer is. The longest beginning counts.
FAMILIES = {
    "config": "a-configuration-is-refused",
    "option": "a-configuration-is-refused",
    "yaml_text": "a-configuration-is-refused",
    "folders": "a-configuration-is-refused",
    "metrics": "a-configuration-is-refused",
    "forward_service": "a-configuration-is-refused",
    "vision_service": "a-configuration-is-refused",
    "migrations": "a-configuration-is-refused",
    "commands/check_config": "a-configuration-is-refused",
    "commands/configured": "a-configuration-is-refused",
    "card_settings": "a-settings-file-is-refused",
    "commands/first_boot": "a-settings-file-is-refused",
    "adapters/slots_rauc": "an-update-fell-back",
    "adapters/camera_": "no-camera",
    "camera": "no-camera",
    "adapters/models_folder": "a-model-cannot-be-used",
    "adapters/interpreter_": "a-model-cannot-be-used",
    "assembly": "a-model-cannot-be-used",
    "models": "a-model-cannot-be-used",
    "loaded_models": "a-model-cannot-be-used",
    "commands/models": "a-model-cannot-be-used",
    "inference": "the-edge-tpu-is-gone",
    "edgetpu": "the-edge-tpu-is-gone",
    "usb": "the-edge-tpu-is-gone",
    "commands/usb": "the-edge-tpu-is-gone",
    "broker_": "no-connection-to-the-broker",
    "tls_files": "no-connection-to-the-broker",
    "mqtt_": "no-connection-to-the-broker",
    "commands/listen": "no-connection-to-the-broker",
    "consent_desk": "an-enrolment-is-refused",
    "control_desk": "an-enrolment-is-refused",
    "enrolment_desk": "an-enrolment-is-refused",
    "recognition/": "an-enrolment-is-refused",
    "commands/agreement": "an-enrolment-is-refused",
    "commands/common": "an-enrolment-is-refused",
    "commands/enrol": "an-enrolment-is-refused",
    "commands/rename": "an-enrolment-is-refused",
    "commands/renew": "an-enrolment-is-refused",
    "commands/withdraw": "an-enrolment-is-refused",
    "adapters/clock": "the-vision-service-does-not-run",
    "adapters/control_": "the-vision-service-does-not-run",
    "outbox_": "the-vision-service-does-not-run",
    "checks": "the-vision-service-does-not-run",
    "commands/console": "the-vision-service-does-not-run",
    "commands/doctor": "the-vision-service-does-not-run",
    "commands/status": "the-vision-service-does-not-run",
    "commands/ledger": "the-vision-service-does-not-run",
    "commands/outbox": "the-vision-service-does-not-run",
    "update": "an-update-fell-back",
    "commands/update": "an-update-fell-back",
    "commands/commit": "an-update-fell-back",
}
COMMANDS = {"df", "journalctl", "ls", "porter", "rpicam-hello", "ssh", "sudo", "systemctl"}
# They run on the PC of somebody who measures or develops, not on a device.
ON_A_PC = (
    "measure/",
    "demo",
    "replay",
    "commands/replay",
    "adapters/broker_",
    "commands/bench",
    "generate",
    "asyncapi",
)


def pages() -> list[Path]:
    """Every Markdown file of the repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in sorted(set(listed.split("\0"))) if name and (ROOT / name).is_file()]


def prose(page: Path) -> str:
    """The page without its code blocks, where nothing is a link or a heading."""
    return re.sub(r"(?ms)^```.*?^```$", "", page.read_text("utf-8"))


@cache
def anchors(page: Path) -> frozenset[str]:
    """What its headings are called in a link, as the usual hosts make them."""
    found: list[str] = []
    for heading in HEADING.findall(prose(page)):
        plain = re.sub(r"[*`]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading))
        name = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        again = sum(
            each == name or re.fullmatch(rf"{re.escape(name)}-\d+", each) is not None for each in found
        )
        found.append(f"{name}-{again}" if again else name)
    return frozenset(found)


def targets(page: Path) -> Iterator[tuple[str, Path, str]]:
    """Every link of a page into the repository: as it is written, the file, the anchor."""
    for written in LINK.findall(re.sub(r"`[^`\n]*`", "", prose(page))):
        if re.match(r"[a-z]+:", written):
            continue
        path, _, anchor = unquote(written).partition("#")
        yield written, (page.parent / path).resolve() if path else page, anchor


@cache
def modules() -> dict[str, ast.Module]:
    """The package's modules, by their path in it without `.py`."""
    folder = ROOT / "device"
    return {
        str(file.relative_to(folder).with_suffix("")): ast.parse(file.read_bytes())
        for file in sorted(folder.rglob("*.py"))
    }


def calls(name: str) -> Iterator[ast.Call]:
    """Every call of that function, class or method in the package."""
    for module in modules().values():
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and name in (
                getattr(node.func, "id", ""),
                getattr(node.func, "attr", ""),
            ):
                yield node


def first_words(name: str) -> set[str]:
    """The first argument of every such call, where it is written there."""
    return {
        call.args[0].value
        for call in calls(name)
        if call.args and isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
    }


def table_words(page: Path, header: str) -> set[str]:
    """The code spans in the first column of the table under that header."""
    lines = prose(page).splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith(f"| {header} |"))
    words: set[str] = set()
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        words.update(CODE.findall(line.split("|")[1]))
    return words


def family(module: str) -> str | None:
    """The part of the page that a module's errors belong to."""
    fitting = [beginning for beginning in FAMILIES if module.startswith(beginning)]
    return FAMILIES[max(fitting, key=len)] if fitting else None


def sentences(text: str) -> list[str]:
    """Code of several words that is neither a command nor an option: what a program says."""
    spans = (" ".join(code.split()) for code in CODE.findall(text))
    return [
        code
        for code in spans
        if " " in code and code.split()[0] not in COMMANDS and not OPTION.fullmatch(code)
    ]


def quoted() -> Iterator[str]:
    """What the page quotes of errors: code of several words that is no command, and the tables of what "it says"."""
    text = prose(TROUBLESHOOTING)
    yield from sentences(text)
    for table in re.findall(r"(?m)^\| it says \| do \|\n\|---\|---\|\n((?:\|.*\n)+)", text):
        for row in table.splitlines():
            yield from CODE.findall(row.split("|")[1])


def test_every_link_in_the_documents_leads_somewhere() -> None:
    dead = []
    found = 0
    for page in pages():
        for written, file, anchor in targets(page):
            found += 1
            name = f"{page.relative_to(ROOT)}: {written}"
            if not file.exists():
                dead.append(f"{name}: there is no such file")
            elif anchor and file.suffix == ".md" and anchor not in anchors(file):
                dead.append(f"{name}: there is no such heading; there are {', '.join(sorted(anchors(file)))}")
    assert found > 100, "hardly a link was found: has the search gone blind?"
    assert not dead, "\n".join(dead)


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for _, file, _ in targets(page):
            waiting += sorted(file.glob("*.md")) if file.is_dir() else [file] if file.suffix == ".md" else []
    lost = [
        str(page.relative_to(ROOT)) for page in pages() if page.parts[-2] == "docs" and page not in reached
    ]
    assert not lost, f"no link leads to {', '.join(lost)}"


def test_every_verb_is_in_the_readme() -> None:
    shown = {code.split()[1] for code in table_words(ROOT / "README.md", "verb")}
    assert shown == set(VERBS)


def test_every_alert_is_in_the_contract_and_in_troubleshooting() -> None:
    raised = first_words("raise_") | {
        keyword.value.value
        for call in calls("Trouble")
        for keyword in call.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
    }
    known = raised | set(KNOWN_ALERTS)
    assert len(known) >= 20, "hardly an alert was found: has the search gone blind?"
    assert table_words(ROOT / "docs" / "protocol.md", "code") == known
    assert table_words(TROUBLESHOOTING, "alert") == known


def test_every_check_of_the_doctor_is_in_troubleshooting() -> None:
    checks = first_words("Finding")
    assert "broker" in checks, "no check was found: has the search gone blind?"
    assert table_words(TROUBLESHOOTING, "a line of `porter doctor` about") >= checks


@pytest.mark.parametrize("module", sorted(modules()))
def test_what_a_person_must_act_on_has_its_place_in_troubleshooting(module: str) -> None:
    acts = any(
        isinstance(node, ast.Call)
        and getattr(node.func, "id", "") in WORDS
        and any(keyword.arg == "hint" for keyword in node.keywords)
        for node in ast.walk(modules()[module])
    )
    if not acts or module.startswith(ON_A_PC):
        return
    place = family(module)
    assert place, f"device/{module}.py: add it to FAMILIES here, and what it says to docs/troubleshooting.md"
    assert place in anchors(TROUBLESHOOTING), f"docs/troubleshooting.md has no heading for {place}"


def test_every_family_of_errors_is_quoted_where_it_is_answered() -> None:
    sections = re.split(r"(?m)^## ", prose(TROUBLESHOOTING))
    for place in sorted(set(FAMILIES.values()) - {"an-update-fell-back"}):
        section = next(
            text for text in sections
            if re.sub(r"[^\w\- ]", "", text.splitlines()[0].lower()).replace(" ", "-") == place
        )  # fmt: skip
        shown = sentences(section)
        assert shown, f"{place}: quotes no error, so nobody finds it by searching"


def test_what_the_page_quotes_is_what_the_code_says() -> None:
    said = "\n".join(
        node.value
        for module in modules().values()
        for node in ast.walk(module)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    quotes = [quote.strip() for quote in quoted()]
    assert len(quotes) > 30, "hardly a quote was found: has the search gone blind?"
    made_up = [quote for quote in quotes if quote not in said]
    assert not made_up, f"nothing says {made_up}"
