# SPDX-License-Identifier: Apache-2.0
"""The recognise step: events are committed first, what the disk refuses waits, consents and the board are kept."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from device.adapters.clock import ManualClock
from device.adapters.gallery_memory import MemoryGallery
from device.adapters.outbox_memory import MemoryOutbox
from device.adapters.state_file import MemoryStateBoard
from device.errors import EdgeTpuLostError
from device.payloads import CameraInfo, ModelHashes, ServiceState
from device.recogniser import Recogniser
from device.recognition.events import EventMaker
from device.records import Consent, Frame
from device.supervisor import LatestSlot
from device.troubles import Troubles
from device.vision.detect import Detector
from device.vision.sample import Sampler
from tests.door import DIMENSION, RAW, Door, Painted, embed_painted, embedding_of
from tests.people import NS, YEAR_S, at
from tests.yunet import WIDTH_PX, yunet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from tests.yunet import Found

ANNA, STRANGER = Painted(1), Painted(5)


class ImpatientSlot(LatestSlot[Frame]):
    """A slot that does not wait for a frame: time is the tests' own."""

    def take(self, timeout_s: float) -> Frame | None:
        assert timeout_s > 0
        return super().take(0.0)


class Service:
    """A recogniser with everything in memory; Anna is enrolled. Its clock moves with the frames."""

    def __init__(
        self,
        *,
        outbox: MemoryOutbox | None = None,
        board: MemoryStateBoard | None = None,
        consent_s: float = 30 * 86_400,
        fail_after: int | None = None,
        note_time: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.clock = ManualClock()
        self.lost = False  # whether the Edge TPU is, from the stranger's crop on
        self.door = Door([], embed=self.embed)
        self.gallery = MemoryGallery(DIMENSION, fail_after=fail_after)
        start = at(0).utc_ns
        consent = Consent("", "door", "ab" * 32, start - NS, start + round(consent_s * NS), "alice")
        self.anna = self.gallery.enrol("Anna", consent, embedding_of(1)[np.newaxis])
        self.outbox = outbox or MemoryOutbox()
        self.board = board or MemoryStateBoard()
        self.troubles = Troubles(self.clock)
        self.slot = ImpatientSlot()
        self.maker = EventMaker(
            device="lobby-01",
            camera="cam0",
            boot_id=self.clock.boot_id,
            random_bits=lambda bits: 2**bits - 1,
            publish_labels=True,
            live_max_age_s=30,
            models=ModelHashes("sha256:1f", "sha256:a2"),
        )
        self.recogniser = Recogniser(
            slot=self.slot,
            pipeline=self.door.pipeline,
            maker=self.maker,
            gallery=self.gallery,
            outbox=self.outbox,
            board=self.board,
            clock=self.clock,
            troubles=self.troubles,
            camera=CameraInfo("cam0", "files", True),
            models=[],
            note_time=note_time,
        )

    def embed(self, tensor: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """As painted; on a lost Edge TPU only Anna still is."""
        found = embed_painted(tensor)
        if self.lost and not np.allclose(found["embedding"], embedding_of(1) * 3.5):
            raise EdgeTpuLostError("Edge TPU: gone")
        return found

    def show(self, *people: Painted, frames: int = 1, synced: bool = True) -> None:
        """So many frames with these people, 0.1 s apart, each through one step."""
        self.door.people = list(people)
        for _ in range(frames):
            self.clock.advance(0.1)
            now = replace(self.clock.now(), synced=synced)
            main = self.door.picture()
            self.slot.put(Frame(1, now, main, main, main[::4, ::4, 0].copy()))
            self.recogniser.step()

    def wait(self, seconds: float) -> None:
        """Time passes, and one step finds no frame."""
        self.clock.advance(seconds)
        self.recogniser.step()

    def events(self) -> list[tuple[str, str]]:
        """Phase and label of what was committed."""
        return [(e.phase, str(e.person.label)) for e in self.outbox.peek(100)]

    def shown(self) -> ServiceState:
        state = self.board.read()
        assert state is not None
        return state

    def codes(self) -> list[str]:
        return [trouble.code for trouble in self.troubles.standing()]


def test_a_start_is_committed_with_the_frame_that_decided_it() -> None:
    service = Service()
    service.show(ANNA, frames=2)
    assert service.events() == []
    service.show(ANNA)
    assert service.events() == [("start", "Anna")]


def test_a_frame_that_is_late_is_no_gap() -> None:
    service = Service()
    for _ in range(3):
        service.show(ANNA)
        service.wait(0.3)
    assert service.events() == [("start", "Anna")]


def test_a_visit_ends_while_no_frames_come() -> None:
    service = Service()
    service.show(ANNA, frames=5)
    service.wait(4.9)
    assert len(service.events()) == 1
    service.wait(0.2)
    assert service.events() == [("start", "Anna"), ("end", "Anna")]


def test_what_a_full_disk_refuses_waits_and_comes_in_order() -> None:
    outbox = MemoryOutbox(full_after=0)
    service = Service(outbox=outbox)
    service.show(ANNA, frames=5)
    service.wait(6)
    assert service.events() == []
    assert service.codes() == ["outbox_full"]
    outbox.full_after = None
    service.wait(1)
    assert service.events() == [("start", "Anna"), ("end", "Anna")]
    assert service.codes() == []


def test_an_outbox_that_drops_the_oldest_is_an_alert_until_an_hour_without() -> None:
    service = Service(outbox=MemoryOutbox(holds=1))
    service.show(ANNA, frames=5)
    assert service.codes() == []
    service.wait(6)
    assert service.events() == [("end", "Anna")], "the end took the start's place"
    assert service.codes() == ["outbox_full"]
    service.wait(3500)
    assert service.codes() == ["outbox_full"]
    service.wait(101)
    assert service.codes() == []


def test_recognition_goes_on_while_the_disk_is_full() -> None:
    service = Service(outbox=MemoryOutbox(full_after=0))
    service.show(ANNA, frames=5)
    assert [p.person.ref for p in service.shown().presence[0].present] == [service.anna.ref]


def test_an_expired_consent_is_erased_within_a_second_and_takes_the_label_out_of_all_waiting_events() -> None:
    service = Service(consent_s=2.0)
    service.show(ANNA, frames=10)
    assert service.events() == [("start", "Anna")]
    service.show(ANNA, frames=22)
    assert service.gallery.subjects() == []
    assert service.events() == [("start", "UNSET"), ("end", "UNSET")]
    service.show(ANNA, frames=50)
    assert len(service.events()) == 2


def test_a_consent_ends_matching_even_where_erasing_fails() -> None:
    service = Service(consent_s=2.0, fail_after=1)
    service.show(ANNA, frames=100)
    assert service.events() == [("start", "Anna"), ("end", "UNSET")]
    assert service.codes() == ["consent_expiring", "gallery_failed"]


def test_withdrawal_between_two_frames_ends_the_visit_at_once() -> None:
    service = Service()
    service.show(ANNA, frames=5)

    def withdraw() -> None:
        service.gallery.withdraw("Anna")
        service.recogniser.refresh_gallery()

    asker = threading.Thread(target=service.recogniser.ask, args=(withdraw,))
    asker.start()
    asker.join()
    service.show(ANNA)
    assert service.events() == [("start", "Anna"), ("end", "UNSET")]
    assert service.shown().info.subjects == 0


def test_while_paused_a_frame_that_was_on_its_way_is_dropped() -> None:
    service = Service()
    service.show(ANNA, frames=2)
    service.recogniser.looking = False
    service.show(ANNA, frames=10)
    assert service.door.pipeline.counters.frames == 2
    service.recogniser.looking = True
    service.show(ANNA, frames=10)
    assert service.events() == [("start", "Anna")]


def test_presence_is_shown_when_it_changes_and_every_few_seconds() -> None:
    service = Service()
    service.show(STRANGER, frames=3)
    assert service.shown().presence[0].present == []
    first = service.shown().boot_ns
    service.show(STRANGER, frames=51)
    assert service.shown().boot_ns - first >= 4.9 * NS
    service.show(frames=12)
    service.show(ANNA, frames=3)
    assert service.shown().boot_ns == service.clock.now().boot_ns
    assert len(service.shown().presence[0].present) == 1


def test_a_new_trouble_is_shown_with_the_next_step() -> None:
    service = Service()
    service.show()
    service.troubles.raise_("disk_low", "little space is left", "free some")
    service.show()
    assert [t.code for t in service.shown().troubles] == ["disk_low"]


def test_a_board_that_cannot_be_written_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    service = Service(board=MemoryStateBoard(full=True))
    service.show(ANNA, frames=5)
    assert service.events() == [("start", "Anna")]
    assert "board_failed" in caplog.text


def test_a_reload_ends_visits_with_the_old_pipeline_and_keeps_counting() -> None:
    service = Service()
    service.show(ANNA, frames=5)
    other = Door([])
    other.people = [ANNA]
    service.recogniser.adopt(other.pipeline, service.maker, [])
    assert service.events() == [("start", "Anna"), ("end", "Anna")]
    other.people = [ANNA]
    service.door = other
    service.show(ANNA, frames=5)
    assert len(service.events()) == 3
    assert other.pipeline.counters.frames == 10


def test_closing_ends_visits_says_so_and_clears_the_presence() -> None:
    service = Service()
    service.show(ANNA, frames=5)
    service.recogniser.close()
    assert service.events()[-1] == ("end", "Anna")
    assert service.shown().stopping
    assert service.shown().presence[0].present == []


def test_events_lost_at_the_very_end_are_said_to_be(caplog: pytest.LogCaptureFixture) -> None:
    service = Service(outbox=MemoryOutbox(full_after=0))
    service.show(ANNA, frames=5)
    service.recogniser.close()
    assert "events_lost count=2" in caplog.text


def test_no_label_is_ever_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    service = Service(consent_s=2.0)
    service.show(ANNA, frames=60)
    service.recogniser.close()
    assert "Anna" not in caplog.text


def test_two_subjects_who_look_alike_are_an_alert_until_one_is_gone() -> None:
    service = Service()
    assert "lookalikes" not in service.codes()
    near = embedding_of(1) + 0.5 * embedding_of(2)
    bert = service.gallery.enrol("Bert", service.anna.consent, (near / np.linalg.norm(near))[np.newaxis])
    service.recogniser.refresh_gallery()
    (trouble,) = [one for one in service.troubles.standing() if one.code == "lookalikes"]
    assert service.anna.ref in trouble.text
    assert bert.ref in trouble.text
    assert "Anna" not in trouble.text
    service.gallery.withdraw("Bert")
    service.recogniser.refresh_gallery()
    assert "lookalikes" not in service.codes()


def test_a_clock_that_leaps_a_year_stops_matching_raises_an_alert_and_erases_nobody() -> None:
    service = Service()
    service.show(ANNA, frames=3)
    service.clock.jump_utc(YEAR_S)
    service.show(ANNA, frames=15)
    assert service.codes() == ["clock_leapt"]
    assert service.events() == [("start", "Anna"), ("end", "UNSET")]
    assert service.gallery.subjects() == [service.anna]
    service.recogniser.refresh_gallery()
    service.clock.jump_utc(-YEAR_S)
    service.show(frames=15)
    assert service.codes() == []
    service.show(ANNA, frames=3)
    assert service.events()[-1] == ("start", "Anna"), "the clock is right again, and so is she"


def test_a_clock_that_stays_a_year_ahead_for_a_day_is_believed() -> None:
    service = Service()
    service.show(frames=3)
    service.clock.jump_utc(YEAR_S)
    for _ in range(23):
        service.wait(3600)
        assert service.gallery.subjects() == [service.anna]
    assert service.codes() == ["clock_leapt"]
    service.wait(2 * 3600)
    assert service.codes() == []
    assert not service.gallery.subjects()


def test_a_clock_set_back_a_year_changes_nothing() -> None:
    service = Service()
    service.show(ANNA, frames=3)
    service.clock.jump_utc(-YEAR_S)
    service.show(ANNA, frames=15)
    assert service.events() == [("start", "Anna")]
    assert service.codes() == []
    service.wait(30 * 86_400)
    assert not service.gallery.subjects()


def test_what_is_certain_of_the_time_is_noted_every_hour() -> None:
    noted: list[int] = []
    service = Service(note_time=noted.append)
    service.wait(60)
    service.wait(60)
    assert noted == [at(60).utc_ns]
    service.clock.jump_utc(YEAR_S)
    service.wait(3600)
    assert noted == [at(60).utc_ns, at(3720).utc_ns], "a clock that leapt is not noted"


def test_consents_that_end_within_two_weeks_are_an_alert_by_ref_and_day() -> None:
    service = Service(consent_s=14 * 86_400 + 90)
    service.show()
    assert service.codes() == []
    service.wait(60)
    service.wait(60)
    (alert,) = service.troubles.standing()
    assert (alert.code, alert.text) == (
        "consent_expiring",
        f"consents end within 14 days: {service.anna.ref} on 2026-12-07",
    )
    assert "Anna" not in repr(alert)


def test_the_alert_ends_when_the_consent_is_renewed_or_withdrawn() -> None:
    service = Service(consent_s=86_400)
    assert service.codes() == ["consent_expiring"]
    for ending in ("renewed", "withdrawn"):
        if ending == "renewed":
            long = replace(service.anna.consent, expires_at_ns=at(YEAR_S).utc_ns)
            service.gallery.renew("Anna", long)
        else:
            service.gallery.renew("Anna", service.anna.consent)
            service.recogniser.refresh_gallery()
            assert service.codes() == ["consent_expiring"]
            service.gallery.withdraw("Anna")
        service.recogniser.refresh_gallery()
        assert service.codes() == []


def test_the_alert_names_the_five_that_end_first_and_counts_the_others() -> None:
    service = Service(consent_s=13 * 86_400)
    for number in range(6):
        soon = replace(service.anna.consent, expires_at_ns=at((number + 1) * 86_400).utc_ns)
        service.gallery.enrol(f"person-{number}", soon, embedding_of(number + 2)[np.newaxis])
    service.recogniser.refresh_gallery()
    (alert,) = service.troubles.standing()
    refs = [subject.ref for subject in service.gallery.subjects() if subject.label != "Anna"][:5]
    assert [part.split()[-3] for part in alert.text.split(",")[:5]] == refs
    assert alert.text.endswith(", and 2 more")


def test_a_leap_does_not_make_every_consent_look_as_if_it_ended_soon() -> None:
    service = Service(consent_s=YEAR_S)
    service.show()
    service.clock.jump_utc(YEAR_S - 86_400)
    service.wait(70)
    assert service.codes() == ["clock_leapt"]


BESIDE = Painted(5, x=180)  # a stranger whose crop comes after Anna's


def test_a_start_decided_before_the_edge_tpu_was_lost_in_the_same_frame_is_committed() -> None:
    service = Service()
    service.show(ANNA, frames=2)
    service.lost = True
    service.show(ANNA, BESIDE)
    assert service.events() == [("start", "Anna")]
    assert service.recogniser.blind


def test_without_a_model_frames_are_dropped_and_counted_and_visits_end_by_their_time() -> None:
    service = Service()
    service.show(ANNA, frames=3)
    service.lost = True
    service.show(ANNA, BESIDE)
    seen = service.door.pipeline.counters.frames
    service.show(ANNA, frames=20)
    assert service.door.pipeline.counters.frames == seen
    assert service.door.pipeline.counters.dropped == 20
    service.wait(5)
    assert service.events() == [("start", "Anna"), ("end", "Anna")]


def test_with_other_models_it_sees_again() -> None:
    service = Service()
    service.show(ANNA)
    service.lost = True
    service.show(ANNA, BESIDE)
    other = Door([])
    other.people = [ANNA]
    service.recogniser.forget_face()
    service.recogniser.adopt(other.pipeline, service.maker, [])
    service.show(ANNA, frames=3)
    assert service.events() == [("start", "Anna")]
    assert service.shown().presence[0].present
    assert other.pipeline.counters.dropped == 0


def test_an_edge_tpu_that_is_lost_while_a_face_is_forgotten_is_no_end_of_the_service() -> None:
    service = Service()
    service.show(ANNA, frames=3)
    service.lost = True
    service.show()
    service.wait(2)  # the track ends, and a black crop is to overwrite the face
    assert service.recogniser.blind
    service.wait(5)
    assert service.events() == [("start", "Anna"), ("end", "Anna")]


def test_a_closer_look_that_the_edge_tpu_cannot_forget_keeps_no_visit_open() -> None:
    """The detector's tensors went with the Edge TPU; trying to overwrite them would raise at every step."""
    service = Service()

    def look(_: NDArray[np.int8]) -> list[Found]:
        if service.lost:
            raise EdgeTpuLostError("Edge TPU: gone")
        return []

    pipeline = service.door.pipeline
    pipeline.sampler = Sampler(Detector(yunet(look), RAW, score_threshold=0.6, nms_iou=0.3))
    service.show(ANNA, frames=3)
    (face,) = pipeline.detector.detect(service.door.picture(), WIDTH_PX)
    pipeline.sampler.sample(service.door.picture(), face, closer=True)
    service.lost = True
    service.show()
    service.wait(2)  # the track ends: the closer look is to be forgotten
    assert service.recogniser.blind
    service.wait(5)
    assert service.events() == [("start", "Anna"), ("end", "Anna")]
