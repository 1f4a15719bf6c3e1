"""What an archive whose budget was too short leaves is counted, and the agents export it."""

from __future__ import annotations

import functools
import itertools
import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest

import servers
from airfleet_provider.agent_loops.lease import AgentsLease
from airfleet_provider.agent_loops.loop import Context
from airfleet_provider.agent_loops.loop import connect as connect_loop
from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.exporter.board import Board
from airfleet_provider.exporter.database import DatabaseLoop
from airfleet_provider.exporter.limits import LabelLimits
from airfleet_provider.run_archive import agent, command
from airflow_tables import serve
from old_runs import find_hours, make_dag

DAGS, RUNS = 3, 5
BEFORE = datetime.now(UTC) - timedelta(days=30)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[servers.Server]:
    with serve() as one:
        one.query("INSERT INTO log_template (filename, elasticsearch_id, created_at) VALUES ('f', 'e', now())")
        one.query("CREATE TABLE IF NOT EXISTS alembic_version AS SELECT 'a' AS version_num")
        hours = find_hours(60, datetime.now(UTC))
        for number in range(DAGS):
            make_dag(one.query, f"old{number}", runs=RUNS, tasks=1, hours=hours, rare=False)
        monkeypatch.setattr(metadata_db, "connect", lambda *_: connect(one.dsn))
        yield one


def connect(dsn: str) -> Any:  # noqa: ANN401 - psycopg2 has no types
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    return connection


def archive(server: servers.Server, folder: Path, budget_s: float) -> agent.ArchiveTotals:
    database = agent.ArchivedDatabase(functools.partial(connect, server.dsn), server.dsn)
    totals = agent.archive(database, str(folder), BEFORE, budget_s=budget_s, pause=0)
    command.note_end(None, left=totals.left)
    return totals


def read(server: servers.Server) -> dict[str, float]:
    """Return what the agents export of the archive."""
    board = Board()
    reach = {"conninfo": server.dsn}
    context = Context("database", {}, AgentsLease("host:1"), threading.Event(), lambda own: connect_loop(reach, own))
    DatabaseLoop(board, LabelLimits(), None).once(context)
    context.disconnect()
    series = board.facts["database"].series
    return {name: series[name][()][0] for name in series if name.startswith("airfleet_archive_")}


def test_the_agents_know_how_many_runs_wait_and_since_when_none_did(server: servers.Server, tmp_path: Path) -> None:
    assert read(server) == {}, "a platform that has not archived yet"

    waiting = DAGS * (RUNS - 1)  # the newest of each stays
    totals = archive(server, tmp_path, budget_s=0)
    assert (totals.is_stopped, totals.left, totals.runs) == (True, waiting, 0)
    first = read(server)
    assert first["airfleet_archive_left_runs"] == waiting

    server.query("UPDATE airfleet.job SET ended_at = ended_at - interval '8 days'")
    archive(server, tmp_path, budget_s=0)
    second = read(server)
    assert second["airfleet_archive_timestamp_seconds"] > first["airfleet_archive_timestamp_seconds"]
    week_s = second["airfleet_archive_timestamp_seconds"] - second["airfleet_archive_complete_timestamp_seconds"]
    assert week_s > 7 * 86_400, "an archive that leaves runs is not complete"

    # A person archives one Dag, which says nothing of the others.
    command.note_end("old0")
    command.note_end(None)
    assert read(server)["airfleet_archive_left_runs"] == waiting

    assert archive(server, tmp_path, budget_s=600).runs == waiting
    last = read(server)
    assert last["airfleet_archive_left_runs"] == 0
    assert last["airfleet_archive_complete_timestamp_seconds"] > first["airfleet_archive_complete_timestamp_seconds"]


def test_what_is_left_is_known_too_when_a_batch_was_on_its_way_as_the_budget_ended(
    server: servers.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = itertools.chain([0.0] * DAGS, itertools.repeat(1000.0))  # the start, and all but the last Dag
    monkeypatch.setattr(agent, "time", SimpleNamespace(monotonic=lambda: next(moments), sleep=time.sleep))
    totals = archive(server, tmp_path, budget_s=500)
    assert (totals.batches, totals.is_stopped, totals.left) == (DAGS - 1, True, RUNS - 1)
    assert read(server)["airfleet_archive_left_runs"] == RUNS - 1


def test_an_archive_with_rests_does_one_thing_at_a_time(server: servers.Server, tmp_path: Path) -> None:
    steps: list[str] = []
    database = agent.ArchivedDatabase(functools.partial(connect, server.dsn), server.dsn)
    agent.archive(database, str(tmp_path), BEFORE, pause=0.01, notice=lambda step: steps.append(step.split()[0]))
    assert steps.count("intent") == DAGS
    begun = [before for before, step in itertools.pairwise(steps) if step == "intent"]
    assert set(begun) == {"end"}, "no batch is exported while the rows of another are deleted"


def test_an_export_of_an_archive_with_rests_lets_others_go_first(server: servers.Server, tmp_path: Path) -> None:
    nice: dict[str, int] = {}

    def read_nice(step: str) -> None:
        nice[step.split(maxsplit=1)[0]] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    database = agent.ArchivedDatabase(functools.partial(connect, server.dsn), server.dsn)
    agent.archive(database, str(tmp_path), BEFORE, pause=0.01, notice=read_nice)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert nice["intent"] == nice["write"] == min(19, own + agent.LESS_URGENT)
    assert nice["delete"] == own, "what holds locks does not wait for the CPU"
