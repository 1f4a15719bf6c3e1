"""The trials of the database: what counts as lost, as two primaries, and as a gap; and trials that are continued."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import database_trials
import drills
from airfleet.runners.fleet.transport.database_cluster import DatabaseCluster, Member
from database_trials import FAULTS, SWITCH, Trial
from trial_writer import Confirmed, wrote_at_once

LEADER = Member("db1", "10.0.0.1", "leader", "running", 4)
STANDBY = Member("db2", "10.0.0.2", "sync_standby", "streaming", 4, 0)
REPLICA = Member("db3", "10.0.0.3", "replica", "streaming", 4, 0)
TRIAL = Trial(0, FAULTS[0], "db1", "db2", 21.5, 20.9, 60.0, 400, 0, False, "2026-11-30 00:00", 2.0)


def line(host: str, began: float, ended: float) -> Confirmed:
    return Confirmed(host, f"0-{host}-0", int(began * 10), began, ended)


def test_a_host_that_follows_another_is_no_second_primary() -> None:
    assert not wrote_at_once([line("db1", 1, 2), line("db1", 3, 4), line("db2", 20, 21), line("db2", 22, 23)])


def test_a_write_that_began_before_the_other_host_took_writes_is_none_either() -> None:
    assert not wrote_at_once([line("db1", 1, 2), line("db2", 20, 21), line("db1", 19, 25)])


def test_a_former_primary_that_confirms_a_write_is_one() -> None:
    assert wrote_at_once([line("db1", 1, 2), line("db2", 20, 21), line("db1", 22, 23)])


def test_the_longest_time_without_a_start_includes_the_edges() -> None:
    assert database_trials.find_gap([3.0, 4.0, 99.0], 0.0, 10.0) == 6.0
    assert database_trials.find_gap([], 0.0, 10.0) == 10.0


def test_each_fault_has_its_turn_in_an_order_that_a_later_call_continues() -> None:
    first = [database_trials.choose_fault(number) for number in range(len(FAULTS))]
    assert sorted(first) == sorted(FAULTS)
    later = [database_trials.choose_fault(number) for number in range(len(FAULTS), 2 * len(FAULTS))]
    assert sorted(later) == sorted(FAULTS)
    assert first != later


def test_a_gap_that_no_trial_measured_is_none() -> None:
    found = database_trials.summarise([replace(TRIAL, start_gap_s=None), replace(TRIAL, fault=SWITCH)])
    assert (found["failover_gap_s"], found["switchover_gap_s"]) == (None, 21.5)


def test_task_starts_are_read_from_attempt_logs() -> None:
    lines = ['{"what": "start", "wall": 12.5}', "", '{"what": "beat", "mono": 3.0}']
    assert database_trials.list_starts(lines) == [12.5]


@pytest.mark.parametrize(
    ("members", "leader"),
    [
        ((LEADER, STANDBY, REPLICA), "db1"),
        ((LEADER, REPLICA, replace(REPLICA, name="db2")), ""),
        ((LEADER, STANDBY), ""),
        ((LEADER, STANDBY, replace(REPLICA, lag=None)), ""),
        ((LEADER, STANDBY, replace(REPLICA, state="starting")), ""),
        ((STANDBY, REPLICA, replace(REPLICA, name="db1")), ""),
    ],
    ids=["well", "no standby", "one is away", "one does not follow", "one starts", "no primary"],
)
def test_a_trial_begins_and_ends_on_a_whole_cluster(members: tuple[Member, ...], leader: str) -> None:
    assert database_trials.read_leader(DatabaseCluster(members)) == leader


def test_the_figures_are_those_of_all_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = tmp_path / "drills.json"
    results.write_text(json.dumps({"drills": [{"name": "kill-scheduler"}]}))
    monkeypatch.setattr(drills, "RESULTS", results)
    database_trials.record([TRIAL])
    switched = replace(TRIAL, number=1, fault=SWITCH, start_gap_s=2.5, lost=1)
    database_trials.record([*database_trials.read_trials(), switched])
    kept = json.loads(results.read_text())
    assert kept["drills"] == [{"name": "kill-scheduler"}], "the other drills stay"
    assert (kept["failover_gap_s"], kept["switchover_gap_s"]) == (21.5, 2.5)
    assert (kept["trials"], kept["switchovers"], kept["lost"], kept["two_primaries"]) == (1, 1, 1, 0)
    assert database_trials.read_trials() == [TRIAL, switched]
