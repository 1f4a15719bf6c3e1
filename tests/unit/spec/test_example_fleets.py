"""The files that people copy from examples are ones that airfleet reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from airfleet.spec import load

EXAMPLES = Path(__file__).parents[3] / "examples"
FILES = sorted(EXAMPLES.glob("*/fleet*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(EXAMPLES)) for path in FILES])
def test_every_fleet_file_of_the_examples_is_read(path: Path) -> None:
    found = load.parse(path.read_text(), file=path.name, default_name="example", cpus=4)
    assert found.name == ("flights" if path.parent.name == "fleet" else path.parent.name)
    # A rule that names a pool names one that there is.
    assert {rule.queue for rule in found.routing} <= {pool.name for pool in found.pools}
