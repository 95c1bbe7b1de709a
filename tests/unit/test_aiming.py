# SPDX-License-Identifier: Apache-2.0
"""The distances and pictures of docs/install.md: computed rightly, from options and figures as they are."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from device.options import Config
from docs.install import aiming, draw

ROOT = Path(__file__).resolve().parents[2]
SVG = "{http://www.w3.org/2000/svg}"


def test_a_field_of_a_right_angle_shows_twice_the_distance() -> None:
    camera = aiming.Camera("a quarter turn", 90.0)
    assert camera.width_at_1_m == pytest.approx(2.0)
    # A face 135 mm wide fills 7.5 % of 1.8 m; that is how much is seen at 0.9 m.
    assert camera.farthest_m(0.075) == pytest.approx(0.9, abs=0.01)
    assert camera.nearest_m(1.125) == pytest.approx(1.0)


def test_half_of_a_sensor_shows_half_as_much() -> None:
    whole, half = aiming.Camera("", 66.0), aiming.Camera("", aiming.cropped(66.0, 2304, 4608))
    assert half.width_at_1_m == pytest.approx(whole.width_at_1_m / 2)
    assert half.farthest_m(0.1) == pytest.approx(2 * whole.farthest_m(0.1))


def test_a_lens_as_long_as_half_its_sensor_sees_a_right_angle() -> None:
    assert aiming.of_lens(3.0, 6.0) == pytest.approx(90.0)


def test_a_diagonal_is_wider_than_its_picture() -> None:
    # A Logitech C920 has 78 degrees by its diagonal and 70.4 by its width.
    assert aiming.of_diagonal(78.0) == pytest.approx(70.4, abs=0.1)


def test_a_camera_that_looks_down_by_45_degrees_is_as_far_as_it_is_high() -> None:
    assert aiming.steepest_m(0.5, 45.0) == pytest.approx(0.5)


def test_the_shares_are_those_of_the_default_picture_and_of_the_measured_accuracy() -> None:
    defaults, zone = Config().camera, Config().zone
    assert (defaults.width_px, defaults.height_px) == (1280, 720)
    assert defaults.height_px / defaults.width_px == aiming.SHAPE
    assert zone.min_face_px / defaults.width_px < aiming.DEFAULT_SHARE, (
        "what is sure is told, not what is allowed"
    )
    page = (ROOT / "docs" / "accuracy.md").read_text("utf-8")
    default, large = (
        {
            float(cells[1]): float(cells[2].split("%")[0])
            for line in page.split(title)[1].split("\n### ")[0].splitlines()
            if line.startswith("| ") and (cells := line.split("|"))[1].strip().isdigit()
        }
        for title in (
            "### Width of the face, default detector",
            "### Width of the face, detector with 640x480",
        )
    )
    assert default[1280 * aiming.DEFAULT_SHARE] < 1.0, "of searches, per cent missed"
    assert large[1280 * aiming.LARGE_SHARE] < 1.0


def test_every_camera_of_the_table_gets_nearer_the_wider_it_sees() -> None:
    by_field = sorted(aiming.CAMERAS, key=lambda camera: camera.field_deg)
    reach = [camera.farthest_m(aiming.DEFAULT_SHARE) for camera in by_field]
    assert reach == sorted(reach, reverse=True)
    assert all(math.isfinite(metres) and 0.3 < metres < 5.0 for metres in reach)


def test_pictures_and_tables_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert draw.main(["--check"]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(draw.PICTURES))
def test_a_picture_stays_within_its_frame_and_shows_no_photograph(name: str) -> None:
    root = ET.fromstring(draw.PICTURES[name]())  # noqa: S314  we have just made it
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    assert root.find(f"{SVG}title") is not None, "what a screen reader says"
    assert not root.findall(f".//{SVG}image")
    for text in root.iter(f"{SVG}text"):
        size = float(text.attrib["font-size"])
        assert size >= 20, "to be read on a phone"
        # Wide letters of a wide font: what fits by this fits.
        wide = len(text.text or "") * size * (0.66 if "font-weight" in text.attrib else 0.58)
        begin = (
            float(text.attrib["x"]) - wide * {"start": 0, "middle": 0.5, "end": 1}[text.attrib["text-anchor"]]
        )
        assert begin >= -5, text.text
        assert begin + wide <= width + 5, text.text
        assert 0 < float(text.attrib["y"]) < height, text.text


def test_the_sign_says_what_the_template_says() -> None:
    words = " ".join(
        text.text or ""
        for text in ET.fromstring(draw.sign()).iter(f"{SVG}text")  # noqa: S314
    )
    template = (ROOT / "docs" / "privacy" / "door-sign.md").read_text("utf-8")
    for promise in (
        "nothing about you is kept",
        "No picture is stored or sent",
        "THE OTHER WAY IN",
        "how to withdraw",
    ):
        assert promise in words
        assert promise in " ".join(template.split())


def test_a_page_whose_table_is_stale_is_written_again() -> None:
    stale = "# A page\n<!-- heights: python -m docs.install.draw -->\nold\n<!-- end of heights -->\nmore\n"
    fresh = draw.with_tables(stale)
    assert "old" not in fresh
    assert aiming.heights() in fresh
    assert fresh.endswith("<!-- end of heights -->\nmore\n")
    assert draw.with_tables(fresh) == fresh
