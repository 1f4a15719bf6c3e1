"""Drills on a Celery platform of one machine: a component fails while tasks run.

Each fault falls on a platform that starts more than one task a second; what became of the work is read from the ledger
that the tasks write themselves.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from airfleet.drills.analysis import Findings, Window, analyse
from airfleet.drills.attempt_log import read_log
from airfleet.drills.load import SETTINGS, STORE, Load, render_project
from deadline import PATIENCE_S, wait_until
from fleets import Platform, make

pytestmark = pytest.mark.drill

# Seconds of load before and after a fault; a task that waits for a time-out must end within the second.
BEFORE_S, AFTER_S = 20, 60
OUTAGE_S = int(os.environ.get("DRILL_OUTAGE_S", "240"))
RESULTS = os.environ.get("DRILL_RESULTS")
FLEET = """\
name: drills
executor: celery
schedulers: 2
parallelism: 16
ports: {{api: {port}}}
"""


@pytest.fixture(scope="module")
def drilled() -> Iterator[Platform]:
    with make("drills") as platform:
        (platform.project / "dags" / "work.py").unlink()
        (platform.project / "fleet.yaml").write_text(FLEET.format(port=platform.port))
        platform.up()
        yield platform


def query(platform: Platform, sql: str, *values: object) -> list[tuple[Any, ...]]:
    dsn = platform.state.read_dsn()
    assert dsn
    with psycopg.connect(dsn.reveal(), autocommit=True, connect_timeout=5) as connection:
        return connection.execute(sql, values or None).fetchall()


def store(platform: Platform, load: Load) -> None:
    """Write the connection and the variable that the tasks of the load look up."""
    dsn = platform.state.read_dsn()
    assert dsn
    with psycopg.connect(dsn.reveal(), autocommit=True, connect_timeout=5) as connection:
        for statement in STORE:
            connection.execute(statement, {"name": load.prefix, "secret": load.secret})


def active(platform: Platform) -> str:
    rows = query(platform, "SELECT name FROM airfleet.seat WHERE state = 'active' AND seen_at > now() - interval '5 s'")
    return rows[0][0] if rows else ""


def family(platform: Platform, name: str) -> list[psutil.Process]:
    """Return the processes of a component, children first; none while the component is being restarted."""
    try:
        top = psutil.Process(platform.pid(name) or 0)
        return [*reversed(top.children(recursive=True)), top] if top.pid else []
    except psutil.NoSuchProcess:
        return []


def drill(platform: Platform, name: str, inject: Callable[[], float | None], *, lasts_s: int = 0) -> Findings:
    """Run the load, call `inject` in its middle, and return the findings. `inject` returns when the fault is undone."""
    ledger = platform.project / "ledger" / name
    length = BEFORE_S + lasts_s + AFTER_S
    began = datetime.now(UTC) + timedelta(seconds=8)
    load = Load(began=began.replace(microsecond=0), length_s=length - length % 10, ledger=str(ledger), long_s=30.0)
    store(platform, load)
    for file, text in sorted(render_project(load).items(), key=lambda one: one[0] == "dags/drill_load.py"):
        path = platform.project / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert (platform.project / SETTINGS).exists()
    expected = load.expected()
    wait_until(lambda: platform.knows(f"{load.prefix}_0"), "the load", every_s=0.5)
    time.sleep(max(0.0, load.began.timestamp() + BEFORE_S - time.time()))
    struck = time.time()
    recovered = inject()
    end = load.ends.timestamp()

    def ended() -> bool:
        found = read_log((Path(load.folder) / "ledger.jsonl").read_text().splitlines())
        return {one.instance for one in found.attempts if one.is_done} >= set(expected)

    with contextlib.suppress(AssertionError):  # the findings name what is missing
        wait_until(ended, "the end of all work", timeout_s=max(0.0, end - time.time()) + PATIENCE_S, every_s=1)
    found = read_log((Path(load.folder) / "ledger.jsonl").read_text().splitlines())
    window = Window(load.began.timestamp(), struck, recovered, end)
    findings = analyse(found.attempts, expected, window, wrong=found.wrong)
    assert not findings.wrong
    report(name, findings)
    return findings


def report(name: str, found: Findings) -> None:
    line = {
        "name": name,
        "lost": len(found.lost),
        "doubled": len(found.doubled),
        "killed": len(found.killed),
        "repeated": len(found.repeated),
        "usual_gap_s": round(found.usual_gap.seconds, 2),
        "longest_gap_s": round(found.longest_gap.seconds, 2),
        "first_start_s": found.first_start_s and round(found.first_start_s, 2),
        "started": found.started,
        "rate": round(found.rate, 2),
    }
    print(json.dumps(line), flush=True)
    if RESULTS:
        path = Path(RESULTS)
        others = json.loads(path.read_text())["drills"] if path.exists() else []
        drills = [*(one for one in others if one["name"] != name), line]
        path.write_text(json.dumps({"drills": drills}, indent=2) + "\n")


def assert_unharmed(found: Findings) -> None:
    assert [str(one) for one in found.lost] == []
    assert [asdict(pair) for pair in found.doubled] == []
    assert [asdict(one) for one in found.killed] == []


def assert_never_two(platform: Platform) -> None:
    rows = query(
        platform,
        "SELECT ti.dag_id, ti.run_id FROM task_instance ti JOIN job old ON old.id = ti.queued_by_job_id"
        " JOIN job new ON new.job_type = 'SchedulerJob' AND new.id > old.id AND ti.queued_dttm > new.start_date",
    )
    assert rows == []


def test_kill_the_active_scheduler(drilled: Platform) -> None:
    def inject() -> None:
        before = active(drilled)
        for process in family(drilled, before):
            process.kill()

    found = drill(drilled, "kill_scheduler", inject)
    assert_unharmed(found)
    assert_never_two(drilled)
    drilled.wait_healthy()


def test_freeze_the_active_scheduler_and_thaw_it(drilled: Platform) -> None:
    def inject() -> float:
        before = active(drilled)
        frozen = family(drilled, before)
        for process in frozen:
            process.send_signal(signal.SIGSTOP)
        wait_until(lambda: active(drilled) not in ("", before), "the take-over")
        taken_over = datetime.now(UTC)
        started = "SELECT 1 FROM task_instance WHERE queued_dttm > %s"
        wait_until(lambda: query(drilled, started, taken_over), "work of the new scheduler")
        for process in frozen:  # the scheduler before its guardian
            process.send_signal(signal.SIGCONT)
        return time.time()

    found = drill(drilled, "freeze_scheduler", inject)
    assert_unharmed(found)
    assert_never_two(drilled)
    drilled.wait_healthy()


def test_hand_over_on_purpose(drilled: Platform) -> None:
    def inject() -> None:
        print(drilled.airfleet("failover", "--json").stdout, flush=True)

    found = drill(drilled, "failover", inject)
    assert_unharmed(found)
    assert_never_two(drilled)


def test_restart_the_database(drilled: Platform) -> None:
    def inject() -> float:
        old = drilled.pid("postgres")
        os.kill(old or 0, signal.SIGINT)
        wait_until(lambda: drilled.pid("postgres") not in (None, old), "PostgreSQL")
        wait_until(lambda: answers(drilled), "PostgreSQL")
        return time.time()

    found = drill(drilled, "restart_database", inject)
    assert_unharmed(found)
    assert_never_two(drilled)
    wait_until(drilled.is_healthy, "health")


@pytest.mark.parametrize("part", ["execution-api", "postgres", "rabbitmq"])
def test_a_long_outage(drilled: Platform, part: str) -> None:
    """The component is frozen, so that its connections hang until they time out."""

    def inject() -> float:
        until = time.time() + OUTAGE_S
        try:
            while time.time() < until:
                # A frozen server process of PostgreSQL would outlive its server, and keep the next one from starting.
                tell(family(drilled, part), signal.SIGKILL if part == "postgres" else signal.SIGSTOP)
                time.sleep(1)
        finally:
            tell(family(drilled, part), signal.SIGCONT)
        return time.time()

    found = drill(drilled, f"outage_{part.replace('-', '_')}", inject, lasts_s=OUTAGE_S)
    assert_unharmed(found)
    wait_until(drilled.is_healthy, "health")


def tell(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def answers(platform: Platform) -> bool:
    try:
        return bool(query(platform, "SELECT 1"))
    except psycopg.OperationalError:
        return False
