"""The load of a drill on a real platform: the ledger ends with exactly the expected task instances."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from airfleet.drills.attempt_log import TaskInstance, read_log
from airfleet.drills.load import STORE, Load, render_project
from deadline import wait_until
from fleets import Platform

pytestmark = pytest.mark.local


def test_every_expected_instance_and_no_other_is_done_once(other: Platform) -> None:
    other.up()
    load = Load(datetime.now(UTC), 6, str(other.project / "ledger"), dags=2, every_s=2, short_s=0.1, long_s=0.6)
    dsn = other.state.read_dsn()
    assert dsn
    with psycopg.connect(dsn.reveal()) as connection:
        for statement in STORE:
            connection.execute(statement, {"name": load.prefix, "secret": load.secret})
    for name, text in render_project(load).items():
        (other.project / name).parent.mkdir(exist_ok=True)
        (other.project / name).write_text(text)

    def done() -> list[TaskInstance]:
        file = Path(load.folder) / "ledger.jsonl"
        attempts = read_log(file.read_text().splitlines()).attempts if file.exists() else ()
        return sorted(one.instance for one in attempts if one.is_done)

    wait_until(lambda: set(done()) >= set(load.expected()), "all that is expected", every_s=0.5, seen=done)
    assert done() == sorted(load.expected())
    assert len(done()) == 9
    lines = (Path(load.folder) / "ledger.jsonl").read_text().splitlines()
    assert read_log(lines).wrong == ()
