# SPDX-License-Identifier: Apache-2.0
"""A door of one's own for a test, or one that a module shares, and the scenes that cameras may see, drawn once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from device.demo_scenes import write_scene
from tests.service.harness import ServiceDoor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from device.demo_scenes import Person

SCENES: dict[str, Person | None] = {"nobody": None, "anna": "astronaut", "stranger": "hopper"}


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures for each scene."""
    folder = tmp_path_factory.mktemp("scenes")
    for name, person in SCENES.items():
        write_scene(folder / name, person, frames=8)
    return folder


@pytest.fixture
def door(tmp_path: Path, scenes: Path) -> Iterator[ServiceDoor]:
    """A door whose service does not run yet."""
    with ServiceDoor(tmp_path, scenes) as made:
        yield made


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, scenes: Path) -> Iterator[ServiceDoor]:
    """A door where Anna is enrolled, for the whole module; whoever uses it says first what it sees."""
    with ServiceDoor(tmp_path_factory.mktemp("house"), scenes) as made:
        made.start()
        made.show("anna")
        made.enrol("anna")
        yield made


@pytest.fixture
def empty_house(house: ServiceDoor) -> ServiceDoor:
    """The same, with nobody there."""
    house.show("nobody")
    seen = house.status().frames

    def left() -> bool:
        """Who was there before these frames has been decided about, and is gone."""
        now = house.status()
        return now.frames > seen + 5 and now.present == 0

    house.wait("nobody", left)
    return house
