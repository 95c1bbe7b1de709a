# SPDX-License-Identifier: Apache-2.0
"""SIGHUP: all of a changed configuration or none of it, while somebody stands at the door."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.service.harness import ServiceDoor

CORNER = [[0.9, 0.9], [1.0, 0.9], [1.0, 1.0], [0.9, 1.0]]
ELSEWHERE: dict[str, dict[str, Any]] = {"zone": {"polygon": CORNER}}
PATIENT: dict[str, dict[str, Any]] = {"recognition": {"visit_end_s": 10.0}}


@pytest.fixture
def visited(house: ServiceDoor) -> ServiceDoor:
    """Anna stands there; her visit goes on through short gaps. Every test begins with the same configuration."""
    house.show("anna")
    house.configure(**PATIENT)
    house.reload()
    house.wait("Anna", lambda: house.status().present == 1 and not house.alerts())
    return house


def bad_yaml(door: ServiceDoor) -> None:
    door.config_file.write_text("device: {id: test-door\ncamera: [")


def unknown_option(door: ServiceDoor) -> None:
    door.configure(**PATIENT, zone={"polygone": CORNER})


def out_of_range(door: ServiceDoor) -> None:
    door.configure(recognition={"threshold": 0.1})


def restart_only(door: ServiceDoor) -> None:
    door.configure(**PATIENT, device={"id": "another-door"}, zone={"polygon": CORNER})


def no_such_model(door: ServiceDoor) -> None:
    door.configure(**PATIENT, models={"detector": "nothing-320x256"})


def an_embedder_as_detector(door: ServiceDoor) -> None:
    door.configure(**PATIENT, models={"detector": "sface"})


def no_such_camera(door: ServiceDoor) -> None:
    door.configure(**PATIENT, camera={"path": str(door.folder / "nowhere")}, zone={"polygon": CORNER})


def a_folder_without_pictures(door: ServiceDoor) -> None:
    door.configure(**PATIENT, camera={"path": str(door.run_dir)}, zone={"polygon": CORNER})


def gone(door: ServiceDoor) -> None:
    door.config_file.unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (bad_yaml, "porter.yaml"),
        (gone, "there is no such file"),
        (unknown_option, "zone.polygone"),
        (out_of_range, "recognition.threshold"),
        (restart_only, "device.id: cannot change while running"),
        (no_such_model, "no such model"),
        (an_embedder_as_detector, "its manifest says embedder"),
        (no_such_camera, "camera: expected a camera that works"),
        (a_folder_without_pictures, "expected pictures in this folder"),
    ],
)
def test_a_bad_configuration_changes_nothing_and_says_so_until_a_good_one_comes(
    visited: ServiceDoor, spoil: Callable[[ServiceDoor], None], said: str
) -> None:
    before, frames = visited.events(), visited.status().frames
    spoil(visited)
    visited.reload()
    visited.wait("the alert", lambda: "config_rejected" in visited.alerts())
    assert said in visited.alerts()["config_rejected"]
    visited.wait("more frames", lambda: visited.status().frames > frames + 5)
    assert visited.events() == before, "the visit goes on"
    assert visited.status().present == 1
    assert visited.alerts().keys() == {"config_rejected"}
    assert "Traceback" not in visited.log()

    visited.configure(**PATIENT)
    visited.reload()
    visited.wait("the alert to be cleared", lambda: not visited.alerts())
    assert visited.events() == before


def test_a_new_zone_is_taken(visited: ServiceDoor) -> None:
    before = visited.phases()
    visited.configure(**ELSEWHERE)
    visited.reload()
    visited.wait("the end of the visit", lambda: visited.phases() == [*before, "end"])
    frames, embedded = visited.status().frames, visited.status().embedded
    visited.wait("more frames", lambda: visited.status().frames > frames + 10)
    assert visited.phases() == [*before, "end"]
    assert visited.status().embedded == embedded, "who is outside the zone is not even templated"


def test_a_new_threshold_is_taken_and_stands_in_the_events(visited: ServiceDoor) -> None:
    before = visited.phases()
    visited.configure(recognition={"threshold": 0.6})
    visited.reload()
    visited.wait("anna to be matched anew", lambda: visited.phases() == [*before, "end", "start"])
    _, ended, again = visited.events()[-3:]
    assert ended.fmr_at_threshold == pytest.approx(1e-4, rel=0.01), (
        "one subject, target_fpir as it is by default"
    )
    assert again.threshold == 0.6
    assert again.fmr_at_threshold is not None
    assert 0 < again.fmr_at_threshold < 1e-5


def test_a_reload_that_changes_nothing_for_this_process_does_not_disturb_a_visit(
    visited: ServiceDoor,
) -> None:
    """Else whoever stands there would be matched, and a door opened, a second time."""
    before = visited.events()
    visited.configure(
        **PATIENT,
        mqtt={"host": "broker.example"},
        log={"level": "debug"},
        optics={"ev": 1.0, "hdr": "sensor"},  # the camera's business, and this one has none of it
    )
    visited.reload()
    frames = visited.status().frames
    visited.wait("more frames", lambda: visited.status().frames > frames + 10)
    assert visited.events() == before
    assert not visited.alerts()


def test_a_new_camera_folder_is_taken(visited: ServiceDoor, scenes: Path) -> None:
    before = visited.phases()
    visited.configure(camera={"path": str(scenes / "nobody")})
    visited.reload()
    assert not visited.alerts()
    visited.wait("anna to be gone", lambda: visited.phases() == [*before, "end"])


def test_a_new_detector_is_taken(visited: ServiceDoor) -> None:
    before = visited.phases()
    visited.configure(models={"detector": "yunet-640x480"})
    visited.reload()
    visited.wait("anna to be matched anew", lambda: visited.phases() == [*before, "end", "start"])
    assert [model.name for model in visited.status().models] == ["yunet-640x480", "sface"]


def test_a_new_log_level_is_taken(visited: ServiceDoor) -> None:
    visited.configure(**PATIENT, log={"level": "error"})
    visited.reload()
    before = visited.log()
    assert visited.status().state == "running"
    assert visited.log() == before


def test_a_camera_is_not_changed_while_the_service_is_paused(visited: ServiceDoor, scenes: Path) -> None:
    """To try the new one it would have to look; and paused it does not look."""
    assert visited.porter("pause").returncode == 0
    visited.show("nobody")
    before, frames = visited.phases(), visited.status().frames
    visited.configure(camera={"path": str(scenes / "anna")})
    visited.reload()
    visited.wait("the alert", lambda: "config_rejected" in visited.alerts())
    assert "paused" in visited.alerts()["config_rejected"]
    assert visited.status().frames == frames
    assert visited.porter("resume").returncode == 0
    visited.reload()
    visited.wait("anna, from the new folder", lambda: visited.phases() == [*before, "start"])
    assert not visited.alerts()


def test_a_reload_in_the_middle_of_an_enrolment_ends_it_and_nobody_is_enrolled(door: ServiceDoor) -> None:
    door.configure(enrolment={"references": 8})
    door.start()
    door.show("anna")
    command = door.enrolment("anna")
    door.wait("samples of anna", lambda: "2/12" in command.output())
    door.configure(enrolment={"references": 8, "purpose": "another purpose than she was told"})
    door.reload()
    assert command.ended() == 1
    assert "read again" in command.output()
    assert door.status().subjects == 0


def test_the_camera_in_use_stays_even_where_it_is_lost_while_a_bad_one_is_tried(door: ServiceDoor) -> None:
    door.start()
    door.wait("frames", lambda: door.status().frames > 0)
    door.camera.unlink()
    door.wait("the camera to be lost", lambda: "camera_lost" in door.alerts())
    door.configure(camera={"path": str(door.folder / "nowhere")})
    door.reload()
    door.wait("the alert", lambda: "config_rejected" in door.alerts())
    frames = door.status().frames
    door.show("nobody")
    door.wait("frames of the old camera", lambda: door.status().frames > frames)
    door.wait("its alert to be cleared", lambda: "camera_lost" not in door.alerts())


def test_many_signals_at_once_end_well(door: ServiceDoor) -> None:
    door.start()
    for _ in range(5):
        door.signal(signal.SIGHUP)
    assert door.stop() == 0
