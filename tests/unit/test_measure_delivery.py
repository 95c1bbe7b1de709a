# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of `porter bench-delivery`; the whole of it runs in `make bench`."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from device.adapters.clock import ManualClock, SystemClock
from device.contract import judge
from device.errors import PorterError
from device.measure import delivery
from device.measure.children import cpu_s
from device.measure.synthetic import synthetic_event

RESULT = {
    "latency_ms": {"p50": 1.5, "p95": 4.0, "p99": 5.6, "events": 600},
    "rss_mb_after_5000": 36.2,
    "reconnect_s": [0.3, 2.29],
    "written_kb_an_event": 14.9,
    "written_mb_a_day": 7.45,
    "idle_cpu": {"bell": 0.005, "looking": 0.017},
}


def test_processor_time_and_written_bytes_of_a_process_grow() -> None:
    before = cpu_s(os.getpid())
    while cpu_s(os.getpid()) == before:
        sum(range(100_000))
    assert delivery.written_bytes(os.getpid()) >= 0


def test_waiting_in_vain_says_for_what() -> None:
    with pytest.raises(PorterError, match="in vain for the subscription"):
        delivery.wait_until(lambda: False, "the subscription", patience_s=0.0)


def test_the_table_shows_the_longest_reconnect_and_the_limits(capsys: pytest.CaptureFixture[str]) -> None:
    delivery.print_delivery(RESULT)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-4:] for line in lines if "p99" in line] == [["5.6", "ms", "15", "ms"]]
    assert any("2.29 s" in line and line.endswith("5 s") for line in lines)
    assert any("0.5 %" in line for line in lines)


def test_a_file_system_in_memory_is_said_and_not_called_zero(capsys: pytest.CaptureFixture[str]) -> None:
    delivery.print_delivery(RESULT | {"written_kb_an_event": None, "written_mb_a_day": None})
    assert capsys.readouterr().out.count("a file system in memory") == 2


def test_a_synthetic_event_fits_the_contract_and_is_of_nobody() -> None:
    event = synthetic_event(SystemClock())
    body = msgspec.json.encode(event)
    judged = judge("porter", "porter/v1/bench/cam0/match", body, retained=False)
    assert list(judged.problems) == []
    assert event.person.ref == "p_00000000"
    assert synthetic_event(ManualClock()).id != event.id


def test_without_the_bell_the_folder_for_it_is_a_file(tmp_path: Path) -> None:
    class Broker:
        host, port = "127.0.0.1", 1

    device = delivery.Device(tmp_path / "one", Broker(), bell=False)  # type: ignore[arg-type]
    assert (tmp_path / "one" / "forward").is_file()
    assert len(device.commit(3)) == 3
    device.outbox.close()
