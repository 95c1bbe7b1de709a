# SPDX-License-Identifier: Apache-2.0
"""Detection: how many of the labelled faces are found, and how many detections are none of them.

A detection and a label belong together when their boxes overlap by an IoU of 0.4 or more, each at most once, the best
overlap first. 0.4 and not the customary 0.5, because FDDB's labels are ellipses around the whole head, larger than the
boxes from forehead to chin that detectors are taught. A true face that nobody labelled counts as a false alarm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from device.errors import InputError
from device.measure.metrics import matched, wilson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from device.measure.dataset import Labelled
    from device.measure.faces import FaceFinder
    from device.measure.progress import Progress

MIN_IOU = 0.4


@dataclass(frozen=True, slots=True)
class Detected:
    """One detector on one set. sizes_px: heights of the labelled faces, found and missed."""

    pictures: int
    unreadable: int
    threshold: float
    false_alarms: int
    found_px: list[float]
    missed_px: list[float]

    @property
    def faces(self) -> int:
        """How many faces are labelled."""
        return len(self.found_px) + len(self.missed_px)

    def as_json(self) -> dict[str, Any]:
        """For evaluate.json. Shares are 0 to 1."""
        return {
            "recall": len(self.found_px) / self.faces if self.faces else 0.0,
            "false_alarms": self.false_alarms,
            "faces": self.faces,
            "found": len(self.found_px),
            "recall_95": wilson(len(self.found_px), self.faces),
            "pictures": self.pictures,
            "unreadable": self.unreadable,
            "threshold": self.threshold,
            "iou": MIN_IOU,
        }


def detect_all(labelled: Sequence[Labelled], finder: FaceFinder, progress: Progress) -> Detected:
    """Runs the detector over the set; pictures that cannot be read are counted and left out."""
    found_px: list[float] = []
    missed_px: list[float] = []
    false_alarms = unreadable = 0
    for each in labelled:
        try:
            boxes = [face.box for face in finder.detect(each.picture)]
        except InputError:
            unreadable += 1
            continue
        finally:
            progress.step()
        hits = set(matched(boxes, each.faces, MIN_IOU).values())
        false_alarms += len(boxes) - len(hits)
        for index, face in enumerate(each.faces):
            (found_px if index in hits else missed_px).append(face.h)
    return Detected(
        len(labelled) - unreadable, unreadable, finder.threshold, false_alarms, found_px, missed_px
    )
