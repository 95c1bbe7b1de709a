# SPDX-License-Identifier: Apache-2.0
"""From a configuration to the parts that see: the right ones, or a user error that says which option to change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import pytest

from device.adapters.interpreter_recorded import RecordedInterpreter
from device.adapters.models_folder import default_folder, load_manifest
from device.assembly import (
    make_embedder,
    make_events,
    make_pipeline,
    ns,
    operating_point,
)
from device.errors import HardwareError, InputError
from device.inference import Opened
from device.inference_times import TimedInterpreter
from device.loaded_models import LoadedModel, Models, load_model, load_models, models_for
from device.options import (
    Config,
    InferenceOptions,
    ModelOptions,
    MotionOptions,
    RecognitionOptions,
)
from tests.tiny import tiny_folder

if TYPE_CHECKING:
    from pathlib import Path


LORES = (320, 256)


def models_config(**options: str) -> Config:
    return Config(models=ModelOptions(**options), inference=InferenceOptions(threads=1))


def fake(
    name: str,
    *,
    lost: HardwareError | None = None,
    width_px: int | None = None,
    delegate: Literal["cpu", "edgetpu"] = "cpu",
) -> LoadedModel:
    """A shipped model's manifest over an interpreter that nobody invokes."""
    manifest = load_manifest(default_folder(), name)
    if width_px is not None:
        picture = msgspec.structs.replace(manifest.input, width_px=width_px)
        manifest = msgspec.structs.replace(manifest, input=picture)
    variant = manifest.variants[0]
    interpreter = RecordedInterpreter(variant.input_detail, variant.output_details, [])
    return LoadedModel(manifest, Opened(variant, TimedInterpreter(interpreter), delegate, lost))


def test_the_default_models_load_and_say_what_they_are() -> None:
    models = load_models(models_config())
    detector, embedder = models.infos()
    assert (detector.name, detector.task, detector.delegate) == ("yunet-320x256", "detector", "cpu")
    assert (embedder.name, embedder.task, embedder.delegate) == ("sface", "embedder", "cpu")
    assert detector.sha256 == f"sha256:{models.detector.variant.sha256}" == models.hashes().detector
    assert embedder.sha256 == f"sha256:{models.embedder.variant.sha256}" == models.hashes().embedder
    assert models.lost() is None


@pytest.mark.parametrize(
    ("option", "name", "says"), [("detector", "sface", "embedder"), ("embedder", "yunet-320x256", "detector")]
)
def test_a_model_for_the_other_task_is_refused(option: str, name: str, says: str) -> None:
    with pytest.raises(InputError, match=f"models.{option}: {name}: its manifest says {says}") as caught:
        load_models(models_config(**{option: name}))
    assert "porter models" in caught.value.hint
    assert caught.value.exit_code == 2


def test_a_model_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(InputError, match="no such model") as caught:
        load_model(models_config(), "yunet-1x1", "detector")
    assert "yunet-320x256" in caught.value.hint


def test_a_folder_without_models_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=str(tmp_path)):
        load_models(models_config(folder=str(tmp_path)))


def test_a_detector_that_cannot_be_decoded_is_a_user_error_and_no_traceback(tmp_path: Path) -> None:
    """Its manifest is sound and its tensors are those of the manifest; but it is no YuNet."""
    config = models_config(folder=str(tiny_folder(tmp_path)), detector="tiny")
    models = Models(load_model(config, "tiny", "detector"), fake("sface"))
    with pytest.raises(InputError, match=r"models.detector: tiny: not a YuNet: outputs bbox_16") as caught:
        make_pipeline(config, models, make_events(config, models, "b0070001", lambda _: 0))
    assert caught.value.hint


def test_an_embedder_for_other_crops_than_ours_is_a_user_error() -> None:
    with pytest.raises(
        InputError, match=r"models.embedder: sface: expected an input of 112x112 px, .* 160x112"
    ):
        make_embedder(fake("sface", width_px=160))


def test_an_embedder_without_an_embedding_is_a_user_error() -> None:
    model = fake("sface")
    detail = next(iter(model.interpreter.outputs.values()))
    odd = RecordedInterpreter(model.interpreter.input, {"vector": detail}, [])
    with pytest.raises(InputError, match=r"models.embedder: sface: not an embedder"):
        make_embedder(LoadedModel(model.manifest, Opened(model.variant, TimedInterpreter(odd), "cpu")))


def test_the_threshold_follows_from_the_target_and_the_gallerys_size() -> None:
    rule = RecognitionOptions(target_fpir=1e-3)
    point = operating_point(Config(recognition=rule), fake("sface").variant)
    assert point.table is not None
    assert point.fmr(point.threshold(1)) == pytest.approx(1e-3, rel=0.01)
    assert point.fmr(point.threshold(100)) == pytest.approx(1e-5, rel=0.01)


def test_the_configurations_threshold_goes_first_for_any_gallery() -> None:
    config = Config(recognition=RecognitionOptions(threshold=0.61))
    assert {operating_point(config, fake("sface").variant).threshold(n) for n in (0, 1, 500)} == {0.61}
    models = Models(fake("yunet-320x256"), fake("sface"))
    maker = make_events(config, models, "b0070001", lambda _: 0)
    assert make_pipeline(config, models, maker).sightings.threshold == 0.61


@pytest.mark.parametrize("which", ["detector", "embedder"])
def test_either_models_lost_edge_tpu_is_told(which: str) -> None:
    gone = HardwareError("no Edge TPU")
    models = Models(
        fake("yunet-320x256", lost=gone if which == "detector" else None),
        fake("sface", lost=gone if which == "embedder" else None),
    )
    assert models.lost() is gone


CPU = Config(inference=InferenceOptions(threads=1))
TPU = Config(inference=InferenceOptions(delegate="edgetpu", threads=1, edgetpu_library="libnone.so"))


def test_models_that_are_still_right_go_on_running() -> None:
    running = Models(fake("yunet-320x256"), fake("sface"))
    changed = Config(inference=CPU.inference, recognition=RecognitionOptions(threshold=0.6))
    assert models_for(changed, CPU, running) is running


def test_a_changed_model_is_loaded() -> None:
    running = Models(fake("yunet-320x256"), fake("sface"))
    loaded = models_for(models_config(detector="yunet-640x480"), CPU, running)
    assert loaded.detector.manifest.name == "yunet-640x480"


def test_on_the_edge_tpu_nothing_changes_under_a_running_service() -> None:
    """It has one owner: a second one's probe would make the first one's transfers fail (google-coral/edgetpu#237)."""
    running = Models(fake("yunet-320x256", delegate="edgetpu"), fake("sface", delegate="edgetpu"))
    assert models_for(TPU, TPU, running) is running
    other = msgspec.structs.replace(TPU, models=ModelOptions(detector="yunet-640x480"))
    with pytest.raises(InputError, match="cannot change while the Edge TPU is in use") as caught:
        models_for(other, TPU, running)
    assert "restart" in caught.value.hint


def test_the_motion_gate_is_there_only_where_it_is_wanted() -> None:
    models = Models(fake("yunet-320x256"), fake("sface"))
    for enabled in (True, False):
        config = Config(motion=MotionOptions(enabled=enabled))
        pipeline = make_pipeline(config, models, make_events(config, models, "b0070001", lambda _: 0))
        assert (pipeline.motion is not None) == enabled


def test_seconds_become_nanoseconds() -> None:
    assert (ns(0.1), ns(2), ns(0.0)) == (100_000_000, 2_000_000_000, 0)
