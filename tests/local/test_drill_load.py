"""The load of a drill on a real platform: the ledger ends with exactly the expected task instances."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from airfleet.drills.attempt_log import TaskInstance, read_log
from airfleet.drills.load import REMOVE, STORE, Load, render_project
from deadline import wait_until
from fleets import Platform

pytestmark = pytest.mark.local


@pytest.fixture
def load(platform: Platform) -> Iterator[Load]:
    """A load whose Dags, variable and connection the platform has, and loses with the test."""
    made = Load(datetime.now(UTC), 6, str(platform.project / "ledger"), dags=2, every_s=2, short_s=0.1, long_s=0.6)
    files = {platform.project / name: text for name, text in render_project(made).items()}
    execute(platform, STORE, made)
    for path, text in files.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    yield made
    for path in files:
        path.unlink()
    execute(platform, REMOVE, made)


def execute(platform: Platform, statements: Sequence[LiteralString], load: Load) -> None:
    dsn = platform.state.read_dsn()
    assert dsn
    with psycopg.connect(dsn.reveal()) as connection:
        for statement in statements:
            connection.execute(statement, {"name": load.prefix, "secret": load.secret})


def test_every_expected_instance_and_no_other_is_done_once(load: Load) -> None:
    def done() -> list[TaskInstance]:
        file = Path(load.folder) / "ledger.jsonl"
        attempts = read_log(file.read_text().splitlines()).attempts if file.exists() else ()
        return sorted(one.instance for one in attempts if one.is_done)

    wait_until(lambda: set(done()) >= set(load.expected()), "all that is expected", every_s=0.5, seen=done)
    assert done() == sorted(load.expected())
    assert len(done()) == 9
    lines = (Path(load.folder) / "ledger.jsonl").read_text().splitlines()
    assert read_log(lines).wrong == ()
