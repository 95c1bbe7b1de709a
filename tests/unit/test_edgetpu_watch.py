# SPDX-License-Identifier: Apache-2.0
"""Which models run, and what the alerts say, as the Edge TPU is left, comes back and becomes slow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from device.adapters.clock import ManualClock
from device.adapters.port_reset import ScriptedReset
from device.edgetpu_drift import BATCH
from device.edgetpu_watch import EdgeTpuWatch
from device.errors import HardwareError, InputError
from device.loaded_models import make_edgetpu
from device.options import Config, DeviceOptions, InferenceOptions, ModelOptions
from device.troubles import Troubles
from tests import tiny
from tests.edgetpu_models import compiled_folder

if TYPE_CHECKING:
    from pathlib import Path

    from device.loaded_models import Models


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("edgetpu")
    return tiny.build_stub_delegate(folder), compiled_folder(folder / "models")


class Rig:
    """A watch over the stub."""

    def __init__(
        self, run_dir: Path, compiled: tuple[Path, Path], fallback: Literal["none", "cpu"] = "cpu"
    ) -> None:
        library, models = compiled
        config = Config(
            device=DeviceOptions(run_dir=str(run_dir)),
            models=ModelOptions(folder=str(models)),
            inference=InferenceOptions(
                delegate="edgetpu", fallback=fallback, edgetpu_library=str(library), threads=1
            ),
        )
        self.clock = ManualClock()
        self.troubles = Troubles(self.clock)
        self.tpu = make_edgetpu(config, self.clock, "porter vision", ScriptedReset())
        self.watch = EdgeTpuWatch(self.tpu, config, self.clock, self.troubles)
        self.script = library.with_name(library.name + ".script")
        self.script.write_text("ok\n")
        self.switched: list[Models] = []
        self.watch.switch = self.switched.append

    def alerts(self) -> dict[str, str]:
        return {trouble.code: trouble.text for trouble in self.troubles.standing()}


def delegates(models: Models) -> set[str]:
    return {info.delegate for info in models.infos()}


def test_what_works_runs_without_an_alert(tmp_path: Path, compiled: tuple[Path, Path]) -> None:
    rig = Rig(tmp_path, compiled)
    assert delegates(rig.watch.start()) == {"edgetpu"}
    rig.watch.tick()
    assert (rig.alerts(), rig.switched) == ({}, [])
    rig.watch.close()


def test_at_start_the_fallback_is_told_with_its_reason(tmp_path: Path, compiled: tuple[Path, Path]) -> None:
    rig = Rig(tmp_path, compiled)
    rig.script.write_text("vanish\n")
    models = rig.watch.start()
    assert delegates(models) == {"cpu"}
    assert models.lost() is not None
    assert rig.alerts()["tpu_lost"].startswith("running on the CPU instead: Edge TPU: ")
    rig.watch.close()


def test_without_a_fallback_the_models_stay_those_of_the_edge_tpu(
    tmp_path: Path, compiled: tuple[Path, Path]
) -> None:
    rig = Rig(tmp_path, compiled, fallback="none")
    rig.script.write_text("vanish\n")
    assert delegates(rig.watch.start()) == {"edgetpu"}
    assert rig.alerts()["tpu_lost"].startswith("nobody is looked at, since inference.fallback is none")
    rig.watch.close()


def test_a_minute_of_long_inferences_is_an_alert_until_they_are_short_again(
    tmp_path: Path, compiled: tuple[Path, Path]
) -> None:
    rig = Rig(tmp_path, compiled)
    timed = rig.watch.start().detector.opened.interpreter
    seen = []
    for took_s, batches in ((0.005, 3), (0.011, 8), (0.005, 3)):
        for _ in range(batches):
            rig.clock.advance(10)
            timed.took_s.extend([took_s] * BATCH)
            timed.count += BATCH
            rig.watch.tick()
        seen.append(rig.alerts())
    assert seen[0] == seen[2] == {}
    assert seen[1]["tpu_slow"].endswith(": detector")
    rig.watch.close()


def test_an_invocation_that_does_not_come_back_for_ten_seconds_ends_the_service(
    tmp_path: Path, compiled: tuple[Path, Path]
) -> None:
    rig = Rig(tmp_path, compiled)
    rig.watch.start()
    rig.tpu.begins()
    rig.clock.advance(9.9)
    rig.watch.tick()
    rig.clock.advance(0.2)
    with pytest.raises(HardwareError, match="does not come back"):
        rig.watch.tick()
    rig.watch.close()
    assert '"pid":0' not in (tmp_path / "edgetpu.lock").read_text(), "it counts as a death"
    rig.tpu.invoking_since_ns = None
    rig.watch.close()


def test_a_fallback_whose_file_is_wrong_is_found_at_start_and_not_when_it_is_needed(
    tmp_path: Path, compiled: tuple[Path, Path]
) -> None:
    library, _ = compiled
    models = compiled_folder(tmp_path / "models")
    (models / "sface" / "sface-dynamic.tflite").write_bytes(b"half")
    with pytest.raises(InputError, match=r"sface-dynamic.tflite: truncated"):
        Rig(tmp_path, (library, models))
