# SPDX-License-Identifier: Apache-2.0
"""Options under old names: read as they are, written anew only when asked, and put back for an older Porter.

The shipped list may be empty, so these tests bring their own; the new names are real options of today.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import TYPE_CHECKING

import pytest

from device import config
from device.commands import check_config
from device.config_migrations import MIGRATIONS, Migration, Value
from device.config_upgrade import downgraded_file, release, upgrade_file, upgraded
from device.errors import ConfigError, InputError, StorageError
from device.option_docs import options_table

if TYPE_CHECKING:
    from pathlib import Path


def seconds(value: Value) -> Value:
    """Milliseconds before."""
    if not isinstance(value, int):
        raise TypeError("a whole number of milliseconds")
    return value / 1000


RENAMED = Migration("mqtt.server", "mqtt.host", "0.2.0", "one word for it everywhere")
MOVED = Migration("camera.report_level", "log.level", "0.2.0", "it is about more than the camera")
CONVERTED = Migration(
    "camera.stall_ms", "camera.stall_after_s", "0.3.0", "seconds, as all durations", seconds
)
AREA = Migration("camera.area", "zone.polygon", "0.2.0", "all of the zone in one place")
WHOLE_SECTION = Migration("broker.port", "mqtt.port", "0.2.0", "one section for it")
ALL = (RENAMED, MOVED, CONVERTED, AREA, WHOLE_SECTION)

OLD = """\
# My door.
camera:
  name: porch   # by the lamp
  #width_px: 1280
  # How much it says.
  report_level: debug  # for now

  # Not too nervous.
  stall_ms: 4000 # ms
  area:
    - [0, 0]
    - [1, 0]   # right
    - [1, 1]
  loop: false

# Where the events go.
mqtt:
  'server': "café.example"
# the end
"""
NEW = """\
# My door.
camera:
  name: porch   # by the lamp
  #width_px: 1280

  # Not too nervous.
  stall_after_s: 4.0 # ms
  loop: false

# Where the events go.
mqtt:
  host: "café.example"
# the end

log:
  # How much it says.
  level: debug  # for now

zone:
  polygon:
    - [0, 0]
    - [1, 0]   # right
    - [1, 1]
"""


def test_an_old_name_is_read_as_the_new_one_and_named_with_its_line() -> None:
    found, moves = config.examine(OLD, "f", ALL)
    assert (found.mqtt.host, found.log.level, found.camera.stall_after_s) == ("café.example", "debug", 4.0)
    assert found.zone.polygon == [[0, 0], [1, 0], [1, 1]]
    assert [(move.line, move.migration) for move in moves] == [
        (18, RENAMED),
        (6, MOVED),
        (9, CONVERTED),
        (10, AREA),
    ]
    assert str(moves[0]) == "line 18: mqtt.server is now mqtt.host (since 0.2.0: one word for it everywhere)"


def test_the_text_is_written_anew_where_it_stands_with_comments_and_order() -> None:
    assert upgraded(OLD.encode(), "f", ALL).decode() == NEW
    assert upgraded(NEW.encode(), "f", ALL).decode() == NEW


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("mqtt: {server: a, port: 1}", "mqtt: {host: a, port: 1}"),
        ("broker: \n  port: 1883\nmqtt:\n    host: a\nlog:\n", "mqtt:\n    host: a\n    port: 1883\nlog:\n"),
        ("broker:\n  port: 1883", "\nmqtt:\n  port: 1883\n"),
        ("mqtt:\nbroker:\n  port: 1883 # x\n", "mqtt:\n  port: 1883 # x\n"),
        ("\ufeffmqtt:\r\n  server: a\r\n", "\ufeffmqtt:\r\n  host: a\r\n"),
        ("mqtt:\r\n  tls: no\r\nbroker:\r\n  port: 1883", "mqtt:\r\n  tls: no\r\n  port: 1883\r\n"),
        ("camera: {stall_ms: 1500}", "camera: {stall_after_s: 1.5}"),
        ("camera:\n  area: [[0, 0],\n    [1, 0],\n   [1, 1]]\nzone:\n  #polygon: x\n", None),
        ("mqtt:\n  server:\n    'a'\n  port: 1\n", "mqtt:\n  host:\n    'a'\n  port: 1\n"),
        ("log:\n    # more\n    level: info\n", "log:\n    # more\n    level: info\n"),
    ],
)
def test_every_way_to_write_it_keeps_its_meaning(before: str, after: str | None) -> None:
    fresh = upgraded(before.encode(), "f", ALL).decode()
    assert config.examine(before, "f", ALL)[0] == config.examine(fresh, "f", ())[0]
    if after is not None:
        assert fresh == after


def test_a_name_that_moved_twice_ends_where_the_last_one_says() -> None:
    twice = (
        Migration("net.host", "mqtt.server", "0.2.0", "a"),
        Migration("mqtt.server", "mqtt.host", "0.3.0", "b"),
    )
    assert config.examine("net: {host: x}", "f", twice)[0].mqtt.host == "x"
    assert upgraded(b"net:\n  host: x\n", "f", twice) == b"\nmqtt:\n  host: x\n"


def test_old_and_new_name_together_are_refused() -> None:
    with pytest.raises(ConfigError) as error:
        config.examine("mqtt:\n  host: a\n  server: b\n", "f", ALL)
    assert (error.value.line, error.value.path) == (3, "mqtt.server")
    assert "given as mqtt.host, too, in line 2" in str(error.value)


def test_a_value_that_cannot_be_taken_over_is_refused_under_the_name_that_was_written() -> None:
    with pytest.raises(ConfigError) as error:
        config.examine("camera:\n  stall_ms: soon\n", "f", ALL)
    assert (error.value.line, error.value.path) == (2, "camera.stall_ms")
    assert "expected a whole number of milliseconds, got soon" in str(error.value)
    assert "it is now camera.stall_after_s" in error.value.hint


@pytest.mark.parametrize(
    "text",
    ["mqtt: {server: 7}", "camera: {stall_ms: }", "camera: {stall_ms: [1]}", "zone: 3\ncamera: {area: []}"],
)
def test_a_wrong_value_is_refused_as_ever(text: str) -> None:
    with pytest.raises(ConfigError):
        config.examine(text, "f", ALL)


def test_what_is_written_in_braces_is_not_moved_elsewhere_and_works_all_the_same() -> None:
    text = b"camera: {report_level: debug}\n"
    assert config.examine(text, "f", ALL)[0].log.level == "debug"
    with pytest.raises(InputError, match="written in braces"):
        upgraded(text, "f", ALL)


def test_an_older_porter_refuses_the_new_name_with_a_hint() -> None:
    """What a rollback would meet if anything were written before the update was kept."""
    older_knows = (Migration("mqtt.host", "mqtt.nowhere", "0.1.0", "stands for a version without mqtt.host"),)
    with pytest.raises(ConfigError, match="there is no such option"):
        config.examine("mqtt: {host: a}", "f", older_knows)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "porter.yaml"
    path.write_text(OLD, "utf-8")
    path.chmod(0o640)
    return path


def test_the_file_is_replaced_and_what_it_was_stays_beside_it(file: Path) -> None:
    kept = upgrade_file(file, "0.3.0", ALL)
    assert kept == file.with_name("porter.yaml.before-0.3.0")
    assert (file.read_text("utf-8"), kept.read_text("utf-8")) == (NEW, OLD)
    assert {each.stat().st_mode & 0o777 for each in (file, kept)} == {0o640}
    assert upgrade_file(file, "0.3.0", ALL) is None
    assert sorted(each.name for each in file.parent.iterdir()) == [file.name, kept.name]


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away takes root")
def test_the_file_keeps_its_owner(file: Path) -> None:
    os.chown(file, 12345, 54321)
    kept = upgrade_file(file, "0.3.0", ALL)
    assert kept is not None
    assert {(each.stat().st_uid, each.stat().st_gid) for each in (file, kept)} == {(12345, 54321)}


def test_a_link_stays_one_and_an_older_copy_is_not_overwritten(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "etc.yaml"
    link.symlink_to(file)
    first = upgrade_file(link, "0.3.0", ALL)
    file.write_text("mqtt:\n  server: other\n", "utf-8")
    second = upgrade_file(link, "0.3.0", ALL)
    assert link.is_symlink()
    assert [each and each.name for each in (first, second)] == [
        "porter.yaml.before-0.3.0",
        "porter.yaml.before-0.3.0-2",
    ]
    assert first is not None
    assert first.read_text("utf-8") == OLD


def test_a_file_that_cannot_be_written_is_as_it_was(file: Path) -> None:
    # In the way of write_whole's own, for the new text; the copy of the old one succeeds.
    file.with_name("porter.yaml.half").mkdir()
    with pytest.raises(StorageError, match="the new names cannot be written"):
        upgrade_file(file, "0.3.0", ALL)
    assert file.read_text("utf-8") == OLD


@pytest.mark.parametrize(
    ("target", "back"), [("0.2.9", OLD), ("0.1.0+gabc", OLD), ("0.3.0", NEW), ("0.4", NEW)]
)
def test_a_downgrade_gets_the_file_that_the_older_version_knows(file: Path, target: str, back: str) -> None:
    kept = upgrade_file(file, "0.3.0", ALL)
    found = downgraded_file(file, target, ALL)
    assert found == (None if back == NEW else (kept, True))
    assert file.read_text("utf-8") == back
    # And the version that is left behind reads it as well: where the downgrade falls back nothing is lost.
    assert config.examine(back, "f", ALL)[0] == config.examine(NEW, "f", ())[0]


def test_a_downgrade_over_two_versions_gets_the_oldest_file_that_fits(file: Path) -> None:
    old = "mqtt:\n  server: a  # ours\nbroker:\n  port: 1883\n"
    file.write_text(old, "utf-8")
    between = Migration("log.port", "mqtt.port", "0.3.0", "what 0.2.0 called it")
    upgrade_file(file, "0.2.0", (RENAMED, WHOLE_SECTION))
    file.with_name("porter.yaml.before-0.3.0").write_bytes(file.read_bytes())
    kept, put_back = downgraded_file(file, "0.1.0", (RENAMED, WHOLE_SECTION, between)) or (None, None)
    assert (kept and kept.name, put_back) == ("porter.yaml.before-0.2.0", True)
    assert file.read_text("utf-8") == old


def test_a_downgrade_does_not_undo_what_was_changed_since(file: Path) -> None:
    kept = upgrade_file(file, "0.3.0", ALL)
    file.write_text(NEW.replace("porch", "garden"), "utf-8")
    assert downgraded_file(file, "0.1.0", ALL) == (kept, False)
    assert "garden" in file.read_text("utf-8")


def check(file: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    parser = argparse.ArgumentParser()
    check_config.add_arguments(parser)
    assert check_config.run(parser.parse_args([str(file), *words]), ALL) == 0
    return capsys.readouterr().out


def test_check_config_names_each_old_name_and_changes_nothing(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = check(file, capsys)
    assert "note    line 18: mqtt.server is now mqtt.host (since 0.2.0: one word" in said
    assert "works as it is" in said
    assert f"porter check-config {file} --write writes the new names" in said
    assert file.read_text("utf-8") == OLD
    notes = json.loads(check(file, capsys, "--json"))["notes"]
    assert any("camera.area is now zone.polygon" in note for note in notes)


def test_check_config_writes_when_asked(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = check(file, capsys, "--write")
    assert "as it was: " in said
    assert "is now" not in said
    assert file.read_text("utf-8") == NEW
    assert "as it was" not in check(file, capsys, "--write")


def test_the_shipped_list_leads_to_options_that_are_there_and_from_names_that_are_not() -> None:
    """A later migration may begin where an earlier one ended."""
    known = {option.path for option in options_table()}
    on = {migration.old for migration in MIGRATIONS}
    for migration in MIGRATIONS:
        assert migration.new in known | on, migration
        assert migration.old not in known, migration
        assert release(migration.since), migration
        assert migration.doc, migration
    assert len(on) == len(MIGRATIONS)
