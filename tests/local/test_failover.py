"""Two schedulers of one platform: if the active one ends, for any reason, the other one continues its work.

Tasks of a LocalExecutor are children of their scheduler, so they end with it and run again.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import psutil
import psycopg
import pytest

from airfleet.operations.scheduler_handover import ALIVE_S
from deadline import wait_until
from fleets import Platform, make
from living import is_alive, send

pytestmark = pytest.mark.local


@pytest.fixture(scope="module")
def _two() -> Iterator[Platform]:
    with make("two") as platform:
        file = platform.project / "fleet.yaml"
        file.write_text(file.read_text() + "schedulers: 2\n")
        yield platform


@pytest.fixture
def two(_two: Platform) -> Platform:
    """A platform with a scheduler that works and one that stands by."""
    _two.release()
    if not _two.is_up():
        _two.up()
    _two.wait_healthy()
    wait_until(
        lambda: sorted(seats(_two).values()) == ["active", "standby"],
        "both seats",
        seen=lambda: seats(_two),
    )
    return _two


def query(platform: Platform, sql: str) -> list[tuple[Any, ...]]:
    dsn = platform.state.read_dsn()
    assert dsn
    with psycopg.connect(dsn.reveal(), autocommit=True) as connection:
        return connection.execute(sql).fetchall()


def seats(platform: Platform) -> dict[str, str]:
    return dict(query(platform, "SELECT name, state FROM airfleet.seat"))


def active(platform: Platform) -> str:
    return next((name for name, state in seats(platform).items() if state == "active"), "")


def scheduler_of(platform: Platform, seat: str) -> psutil.Process:
    """Return the scheduler process that the guardian of a seat has started."""
    return next(iter(psutil.Process(platform.pid(seat)).children()))


def is_silent(platform: Platform, seat: str) -> bool:
    silent = f"SELECT 1 FROM airfleet.seat WHERE name = '{seat}' AND seen_at < now() - interval '{ALIVE_S} s'"  # noqa: S608
    return bool(query(platform, silent))


def overlaps(platform: Platform) -> list[tuple[Any, ...]]:
    """Return the tasks that a scheduler queued after its successor had begun."""
    return query(
        platform,
        "SELECT ti.dag_id, ti.run_id FROM task_instance ti JOIN job old ON old.id = ti.queued_by_job_id"
        " JOIN job new ON new.job_type = 'SchedulerJob' AND new.id > old.id AND ti.queued_dttm > new.start_date",
    )


def test_the_other_goes_on_when_the_active_one_is_killed(two: Platform) -> None:
    before = active(two)
    run = two.hold()
    scheduler_of(two, before).kill()
    wait_until(lambda: active(two) not in ("", before), "the take-over")
    wait_until(lambda: len(two.attempts()) > 1, "the task's second start")
    assert not is_alive(int(two.attempts()[0].split()[0])), "two attempts at a time"
    two.release()
    assert two.wait_run("slow", run) == "success"
    assert two.attempts().count("done") == 1
    assert overlaps(two) == []


def test_failover_hands_over_on_purpose_and_nothing_is_run_twice(two: Platform) -> None:
    before = active(two)
    done = json.loads(two.airfleet("failover", "--json").stdout)
    assert (done["before"], done["after"]) == (before, active(two))
    assert done["before"] != done["after"]
    assert 0 <= done["stopped_s"] <= done["taken_s"] <= done["began_s"] <= done["works_s"]
    assert two.succeeds("quick")
    wait_until(lambda: seats(two).get(before) == "standby", "the old one as standby")
    assert overlaps(two) == []


def test_a_frozen_active_one_is_replaced_and_never_acts_again(two: Platform) -> None:
    before = active(two)
    frozen = two.session(two.pid(before))
    send(frozen, signal.SIGSTOP)
    wait_until(lambda: active(two) not in ("", before), "the take-over")
    assert two.succeeds("quick")
    assert not any(is_alive(process) for process in frozen), "it may thaw beside its successor"
    two.wait_healthy()
    assert overlaps(two) == []


def test_a_hand_over_to_nobody_is_refused(two: Platform) -> None:
    before = active(two)
    standby = next(name for name in seats(two) if name != before)
    os.kill(two.pid(standby) or 0, signal.SIGSTOP)
    try:
        # Asked for earlier, the hand-over would wait for the standby, which counts as alive until then.
        wait_until(lambda: is_silent(two, standby), f"the silence of {standby}")
        refused = two.airfleet("failover", check=False)
        assert refused.returncode == 1
        assert f"no standby scheduler for {before}" in refused.stderr
        assert active(two) == before
    finally:
        os.kill(two.pid(standby) or 0, signal.SIGCONT)
