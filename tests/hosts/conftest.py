"""Machines for the tests: one shared bed, which is made anew after a test has damaged it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from four import Four, make_fleet
from machines import Bed, why_not


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests that take minutes, unless the command line asks for them."""
    if "drill" not in config.option.markexpr:
        for item in items:
            if Path(__file__).parent in item.path.parents and item.get_closest_marker("drill"):
                item.add_marker(pytest.mark.skip(reason="takes minutes: `make test-hosts` runs it"))


@pytest.fixture(scope="session")
def _shared() -> Iterator[Bed]:
    if reason := why_not():
        pytest.skip(f"no machines can run here: {reason}")
    with Bed.create(3) as bed:
        yield bed


@pytest.fixture
def bed(_shared: Bed) -> Bed:
    """Three machines, h1 to h3, which are on, ready and undamaged."""
    _shared.heal()
    for machine in _shared.machines:
        machine.power_on()
        machine.thaw()
        machine.free_disk()
    _shared.wait_ready()
    return _shared


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Four]:
    """A fleet of four machines with a release that is live, one for all tests of a file."""
    with make_fleet(tmp_path_factory.mktemp("four")) as made:
        yield made
