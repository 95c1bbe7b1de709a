# SPDX-License-Identifier: Apache-2.0
"""The broker contract over a real mosquitto, in both protocol versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from device.adapters.broker_mosquitto import Mosquitto
from tests.contracts.broker_contract import BrokerContract
from tests.contracts.test_broker import RealRig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.contracts.broker_contract import Rig

pytestmark = pytest.mark.system


@pytest.fixture(params=["5", "3.1.1"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with Mosquitto(tmp_path / "broker") as broker:
        real = RealRig(broker, request.param)
        yield real
        real.ear.close()


class TestMosquitto(BrokerContract):
    """All of the contract."""
