"""The scheduler's wait: over at once for news, never a busy loop, and never longer than Airflow's own."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest

from airfleet_provider.compat.calls.db_errors import FIRST_RETRY_S
from airfleet_provider.compat.patches import incremental_scheduling, scheduler_loop
from airfleet_provider.compat.patches.requirements import Contains
from airfleet_provider.contract.locks import SCHEMA_LOCK
from airfleet_provider.scheduler_wakeup import triggers, wakeup
from airfleet_provider.scheduler_wakeup.wakeup import EARLY_S, Wakeup
from clocks import MadeUpClock


@dataclass
class Notice:
    payload: str


@dataclass
class Database:
    """A connection that gets its news over a pipe."""

    is_broken: bool = False
    revision: str | None = triggers.REVISION
    notifies: list[Notice] = field(default_factory=list)
    payload: str = "sales run_1"
    statements: list[str] = field(default_factory=list)
    pipe: tuple[int, int] = field(default_factory=os.pipe)
    is_closed: bool = False

    def tell(self) -> None:
        os.write(self.pipe[1], b"n")

    def fileno(self) -> int:
        return self.pipe[0]

    def poll(self) -> None:
        if self.is_broken:
            raise OSError("the server has gone")
        os.set_blocking(self.pipe[0], False)
        try:
            self.notifies += [Notice(self.payload)] * len(os.read(self.pipe[0], 100))
        except BlockingIOError:
            return

    def cursor(self) -> Database:
        return self

    def execute(self, statement: str) -> None:
        self.statements.append(statement)

    def fetchone(self) -> tuple[str | None]:
        return (self.revision,)

    def close(self) -> None:
        self.is_closed = True


def make(database: Any) -> tuple[Wakeup, MadeUpClock]:  # noqa: ANN401 - a Database, or what raises
    clock = MadeUpClock(100.0)
    return Wakeup(database if callable(database) else lambda: database, clock, clock.sleep), clock


def test_news_end_the_wait_and_all_of_it_is_one() -> None:
    database = Database()
    wait, _ = make(database)
    wait.wait(0)
    database.tell()
    database.tell()
    wait.wait(60)
    assert database.statements[-1] == f"LISTEN {triggers.CHANNEL}"
    assert wait.take() == {("sales", "run_1")}
    wait.wait(0.01)  # nothing is left to end this one early
    assert database.notifies == []
    assert wait.take() == frozenset()


def test_a_loop_that_did_not_wait_hears_what_came_meanwhile() -> None:
    database = Database()
    wait, _ = make(database)
    assert wait.take() is None  # nobody listens yet
    wait.wait(0)
    wait.take()
    database.tell()
    assert wait.take() == {("sales", "run_1")}


def test_news_wait_while_the_workers_have_work_in_store() -> None:
    database = Database()
    wait, clock = make(database)
    wait.wait(0)
    clock.now += 0.01  # as long as the loop took
    database.tell()
    wait.wait(1)
    wait.has_store = lambda: True
    database.tell()
    wait.wait(1)
    assert clock.slept[-2:] == [0.01, 0.25]


def test_after_a_lost_connection_everything_is_looked_at() -> None:
    database = Database()
    wait, clock = make(database)
    wait.wait(0)
    wait.take()
    database.is_broken = True
    assert wait.take() is None
    database.is_broken = False
    clock.now += wakeup.RETRY_S
    wait.wait(0)
    assert wait.take() is None


@pytest.mark.parametrize(("worked", "rest"), [(0.0, []), (0.02, [0.02]), (3.0, [wakeup.LONGEST_REST_S])])
def test_a_trickle_of_news_takes_half_a_core_at_most(worked: float, rest: list[float]) -> None:
    database = Database()
    wait, clock = make(database)
    wait.wait(0)
    clock.slept.clear()
    clock.now += worked
    database.tell()
    wait.wait(1)
    assert clock.slept == rest


def test_without_a_database_it_sleeps_as_airflow_does() -> None:
    def refuse() -> None:
        raise OSError("no server")

    wait, clock = make(refuse)
    wait.wait(1)
    assert clock.slept == [1]


def test_a_lost_connection_is_made_again_later() -> None:
    database = Database()
    wait, clock = make(database)
    wait.wait(0)
    database.is_broken = True
    wait.wait(1)
    assert database.is_closed
    assert clock.slept[-1] == pytest.approx(FIRST_RETRY_S), "the scheduler's next loop need not wait longer"
    database.is_broken = False
    clock.now += wakeup.RETRY_S
    database.tell()
    wait.wait(60)
    assert database.statements.count(f"LISTEN {triggers.CHANNEL}") == 2


def test_an_outage_of_seconds_is_over_soon_and_a_long_one_is_asked_about_seldom() -> None:
    asked: list[float] = []

    def refuse() -> None:
        asked.append(clock.now)
        raise OSError("no server")

    wait, clock = make(refuse)
    while clock.now < 250:
        wait.wait(0.1)
    pauses = [after - before for before, after in pairwise(asked)]
    assert pauses[0] < 0.5, "a switch-over of the database takes two seconds"
    assert pauses[-1] == pytest.approx(wakeup.RETRY_S, abs=0.2)
    database = Database()
    wait.connect = lambda: database
    clock.now += wakeup.RETRY_S
    wait.wait(0)
    database.is_broken = True
    wait.wait(0)
    database.is_broken = False
    clock.now += FIRST_RETRY_S
    wait.wait(0)
    assert database.statements.count(f"LISTEN {triggers.CHANNEL}") == 2, "the next outage begins with short pauses"


def test_triggers_are_made_only_where_they_are_missing() -> None:
    present, missing = Database(), Database(revision=None)
    wakeup.install(present)
    wakeup.install(missing)
    assert triggers.SQL["create"] not in present.statements
    assert triggers.SQL["create"] in missing.statements
    assert f"'{triggers.CHANNEL}'" in triggers.SQL["create"]
    assert f"IS '{triggers.REVISION}'" in triggers.SQL["create"]
    assert f"lock({SCHEMA_LOCK})" in triggers.SQL["create"]


@pytest.fixture
def _imported_airflow() -> None:
    """Import Airflow before the test: its import sets up the logging, and would take caplog's handler away."""
    importlib.import_module("airflow.jobs.scheduler_job_runner")


@pytest.mark.usefixtures("_imported_airflow")
def test_a_scheduler_that_waits_in_another_way_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = Contains("airflow.jobs.scheduler_job_runner", ("self.wait()",))
    monkeypatch.setattr(scheduler_loop, "SLEEP", replace(scheduler_loop.SLEEP, requires=(other,)))
    monkeypatch.delenv("AIRFLEET_STATE", raising=False)
    with caplog.at_level(logging.WARNING, "airfleet"):
        wakeup.start()
    assert "looks for work once a second, as in stock Airflow" in caplog.text
    assert not any(patch.is_applied() for patch in (scheduler_loop.REST, incremental_scheduling.PATCH))


@dataclass
class Step:
    """A short path that leaves these runs to a loop, and takes its time."""

    clock: MadeUpClock
    left: frozenset[tuple[str, str]] = frozenset()
    takes_s: float = 0.0
    database: Database | None = None
    taken: list[list[tuple[str, str]]] = field(default_factory=list)

    def __call__(self, runs: Collection[tuple[str, str]]) -> frozenset[tuple[str, str]]:
        self.taken.append(list(runs))
        self.clock.now += self.takes_s
        if self.database is not None:
            self.database.tell()
            self.database = None
        return frozenset(runs) & self.left


def test_the_short_path_takes_a_run_before_the_loop_has_rested() -> None:
    database = Database()
    wait, clock = make(database)
    wait.wait(0)
    wait.take()
    clock.slept.clear()
    clock.now += 0.04  # as long as the loop took
    wait.step = step = Step(clock)
    database.tell()
    wait.wait(0.05)
    assert step.taken == [[("sales", "run_1")]]
    assert clock.slept == []
    assert wait.take() == frozenset(), "no loop needs to examine what is settled"


def test_a_run_that_the_short_path_leaves_is_examined_once_the_loop_has_rested() -> None:
    database = Database()
    wait, clock = make(database)
    wait.wait(0)
    wait.take()
    wait.step = step = Step(clock, left=frozenset({("sales", "run_1")}), database=database)
    database.tell()
    wait.wait(60)
    assert step.taken == [[("sales", "run_1")]], "another notification of the run changes nothing"
    assert wait.take() == {("sales", "run_1")}


def test_a_loop_that_is_due_soon_comes_after_a_step() -> None:
    database = Database()
    wait, clock = make(database)
    wait.wait(0)
    wait.take()
    wait.step = step = Step(clock, takes_s=EARLY_S)
    database.tell()
    wait.wait(60)
    assert wait.take() is None
    step.takes_s = 0.01
    clock.now += 3  # a loop that took long is not followed by another one at once
    database.tell()
    wait.wait(0.05)
    assert len(step.taken) == 2
    assert clock.now == pytest.approx(wait.woke_at)


def test_steps_take_half_a_core_at_most_too() -> None:
    database = Database()
    wait, clock = make(database)
    wait.wait(0)
    wait.step = step = Step(clock, takes_s=0.02, database=database)
    database.tell()
    wait.wait(0.05)
    assert len(step.taken) == 2
    assert clock.slept[-1] == 0.02


@pytest.mark.parametrize("first", ["sales run_1", ""])
def test_steady_steps_keep_no_loop_from_what_is_left(first: str) -> None:
    """The first notification concerns what a loop has to do; others follow it as long as anybody takes them."""
    database = Database(payload=first)
    wait, clock = make(database)
    wait.wait(0)
    wait.take()
    names = iter(range(100))

    def step(runs: Collection[tuple[str, str]]) -> frozenset[tuple[str, str]]:
        clock.now += 0.01
        database.payload = f"sales other_{next(names)}"
        database.tell()
        return frozenset(runs) & {("sales", "run_1")}

    wait.step = step
    database.tell()
    wait._hear()
    database.payload = "sales other"
    database.tell()
    clock.now += 0.02  # as long as the loop took
    wait.wait(60)
    assert next(names) <= 3, "a loop comes when it has rested"
    chosen = wait.take()
    assert chosen is None or ("sales", "run_1") in chosen


def test_no_steps_while_the_workers_have_work_in_store() -> None:
    database = Database()
    wait, clock = make(database)
    wait.wait(0)
    wait.take()
    wait.step, wait.has_store = Step(clock), lambda: True
    database.tell()
    wait.wait(1)
    assert wait.step.taken == []
    assert wait.take() == {("sales", "run_1")}
