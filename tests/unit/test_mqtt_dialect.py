# SPDX-License-Identifier: Apache-2.0
"""Which MQTT version is spoken after which end of a connection."""

from __future__ import annotations

from device.mqtt_dialect import Dialect


def test_hang_ups_on_3_1_1_as_well_lead_back_to_5() -> None:
    dialect = Dialect("auto")
    spoken = []
    for _ in range(7):
        spoken.append(dialect.protocol)
        dialect.ended(accepted=False, refused_version=False)
    assert spoken == ["5", "5", "3.1.1", "5", "5", "3.1.1", "5"]


def test_a_version_that_once_worked_or_was_asked_for_is_kept() -> None:
    asked = Dialect("5")
    asked.ended(accepted=False, refused_version=True)
    worked = Dialect("auto")
    worked.accepted(0.0)
    for _ in range(3):
        worked.ended(accepted=False, refused_version=False)
    assert (asked.protocol, worked.protocol) == ("5", "5")


def test_a_connection_that_ends_after_it_was_accepted_says_nothing_about_the_version() -> None:
    dialect = Dialect("auto")
    for _ in range(3):
        dialect.ended(accepted=True, refused_version=False)
    assert dialect.protocol == "5"


def test_after_a_day_of_the_old_version_the_new_one_is_tried_again() -> None:
    dialect = Dialect("auto")
    dialect.ended(accepted=False, refused_version=True)
    for hour in range(24):
        dialect.before_connecting(hour * 3600.0)
        assert dialect.protocol == "3.1.1"
        dialect.accepted(hour * 3600.0)
    dialect.before_connecting(24 * 3600.0)
    assert dialect.protocol == "5"
    dialect.ended(accepted=False, refused_version=True)
    dialect.accepted(25 * 3600.0)  # it still does not know it
    dialect.before_connecting(26 * 3600.0)
    after: str = dialect.protocol
    assert after == "3.1.1"


def test_a_version_that_was_asked_for_is_not_tried_away() -> None:
    dialect = Dialect("3.1.1")
    dialect.accepted(0.0)
    dialect.before_connecting(100 * 3600.0)
    assert dialect.protocol == "3.1.1"
