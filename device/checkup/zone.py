# SPDX-License-Identifier: Apache-2.0
"""Whether anybody can present themselves in the zone as it is configured: its shape, its size, the faces it asks for.

How small a face the detector is sure of was measured (docs/accuracy.md, "Width of the face"): 24 px wide as the
detector sees the picture; at 20 px it does not find 1 in 70, at 16 px 1 in 7, at 12 px more than half.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.checkup.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from device.geometry import Point
    from device.options import CameraOptions, ZoneOptions

SURE_PX, GOOD_PX, SELDOM_PX = 24.0, 20.0, 16.0  # a face's width in the detector's input
# Judgement, not measurement: what is beyond these is more likely a slip than an intention.
TINY, SMALL = 0.01, 0.05  # shares of the picture
WIDE_DEG, NARROW_DEG = 45.0, 12.0
OTHER_DETECTOR = "raise zone.min_face_px, or take models.detector yunet-640x480"


def zone_findings(
    zone: ZoneOptions, camera: CameraOptions, detector_px: tuple[int, int]
) -> Iterator[Finding]:
    """detector_px: width and height of the detector's input."""
    corners = [(x, y) for x, y in zone.polygon]
    yield shape_finding(corners, zone.min_face_px, camera)
    yield face_finding(zone.min_face_px, camera, detector_px)
    yield from pose_findings(zone)


def shape_finding(corners: list[Point], min_face_px: int, camera: CameraOptions) -> Finding:
    """Whether the corners enclose what somebody meant them to."""
    if (pair := crossing(corners)) is not None:
        one, other = (f"{edge + 1}-{(edge + 1) % len(corners) + 1}" for edge in pair)
        hint = "give the corners in order around the zone, each once"
        return Finding("zone", "wrong", f"zone.polygon crosses itself: edges {one} and {other}", hint)
    share = area(corners)
    if share < TINY:
        hint = "the middle of a face must lie in it: draw it larger, as large as the place where people stand"
        return Finding("zone", "wrong", f"zone.polygon covers {share:.1%} of the picture", hint)
    edge_x, edge_y = min_face_px / 2 / camera.width_px, min_face_px / 2 / camera.height_px
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    if max(xs) < edge_x or min(xs) > 1 - edge_x or max(ys) < edge_y or min(ys) > 1 - edge_y:
        hint = "move zone.polygon away from the picture's edge, or turn the camera"
        text = f"zone.polygon lies so near the edge that a face of {min_face_px} px there is cut off"
        return Finding("zone", "wrong", text, hint)
    if share < SMALL:
        hint = "fine for a narrow door; else draw it larger"
        return Finding("zone", "note", f"zone.polygon covers only {share:.0%} of the picture", hint)
    return Finding("zone", "ok", f"zone.polygon covers {share:.0%} of the picture")


def face_finding(min_face_px: int, camera: CameraOptions, detector_px: tuple[int, int]) -> Finding:
    """Whether faces of the configured size are seen at all."""
    scale = min(detector_px[0] / camera.width_px, detector_px[1] / camera.height_px)
    seen_px, sure_px = min_face_px * scale, SURE_PX / scale
    size = f"{camera.width_px}x{camera.height_px}"
    if min_face_px > min(camera.width_px, camera.height_px) / 2:
        hint = "lower zone.min_face_px, or make the picture larger (camera.width_px, height_px)"
        text = (
            f"zone.min_face_px {min_face_px} is more than half of {size}: only a face that fills the picture"
        )
        return Finding("zone", "wrong", text, hint)
    if seen_px < SELDOM_PX:
        text = f"at {size} the detector misses many faces of zone.min_face_px {min_face_px}; sure is {sure_px:.0f}"
        return Finding("zone", "wrong", text, OTHER_DETECTOR)
    text = (
        f"at {size} the detector is sure of faces from {sure_px:.0f} px on, zone.min_face_px is {min_face_px}"
    )
    if seen_px < GOOD_PX:
        return Finding("zone", "note", text, "smaller ones are found less often; " + OTHER_DETECTOR)
    return Finding("zone", "ok", text)


def pose_findings(zone: ZoneOptions) -> Iterator[Finding]:
    """Limits of the pose that are allowed, and odd."""
    for name in ("max_yaw_deg", "max_pitch_deg", "max_roll_deg"):
        limit = getattr(zone, name)
        if limit > WIDE_DEG:
            hint = f"lower it: zone.{name} is 30 to 35 by default"
            text = f"zone.{name} {limit:g}: people who walk by in profile are compared, and badly"
            yield Finding("zone", "note", text, hint)
        elif limit < NARROW_DEG:
            hint = f"raise it: zone.{name} is 30 to 35 by default"
            yield Finding("zone", "note", f"zone.{name} {limit:g}: hardly anybody looks so straight", hint)


def area(corners: list[Point]) -> float:
    """Share of the picture within corners that do not cross (shoelace formula)."""
    pairs = zip(corners, corners[1:] + corners[:1], strict=True)
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs)) / 2


def crossing(corners: list[Point]) -> tuple[int, int] | None:
    """The first two edges that cross, each by the number of its first corner; None where none do."""
    edges = list(zip(corners, corners[1:] + corners[:1], strict=True))
    for first in range(len(edges)):
        for second in range(first + 1, len(edges)):
            neighbours = second == first + 1 or (first == 0 and second == len(edges) - 1)
            if not neighbours and cross(*edges[first], *edges[second]):
                return first, second
    return None


def cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether the lines from a to b and from c to d meet; touching counts."""

    def side(p: Point, q: Point, r: Point) -> float:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    def between(p: Point, q: Point, r: Point) -> bool:
        return min(p[0], q[0]) <= r[0] <= max(p[0], q[0]) and min(p[1], q[1]) <= r[1] <= max(p[1], q[1])

    sides = side(c, d, a), side(c, d, b), side(a, b, c), side(a, b, d)
    if sides[0] * sides[1] < 0 and sides[2] * sides[3] < 0:
        return True
    ends = ((c, d, a), (c, d, b), (a, b, c), (a, b, d))
    return any(value == 0 and between(*end) for value, end in zip(sides, ends, strict=True))
