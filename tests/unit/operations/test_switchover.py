"""Another primary on purpose: who may take over, and how Patroni is told, at hosts that are made up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airfleet.components.postgresql import patroni
from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.database import rules
from airfleet.operations.database.switchover import Switchover
from airfleet.runners.fleet.transport import database_cluster
from airfleet.runners.fleet.transport.connection import HostError, Output
from airfleet.runners.fleet.transport.database_cluster import DatabaseCluster, Member
from airfleet.spec.fleet import Fleet
from airfleet.workspace import primary_record
from airfleet.workspace.state_folder import StateFolder
from places import NINE, parse

THREE = NINE.replace("[web, monitor]", "[web, monitor, database]").replace(
    "roles: [web]}", "roles: [web, database]}", 1
)
A, B, C = "web2", "web3", "data1"
ADDRESSES = {A: "10.0.0.12", B: "10.0.0.13", C: "10.0.0.41"}


def member(
    name: str, role: str = "replica", *, state: str = "streaming", timeline: int = 3, lag: int | None = 0
) -> Member:
    return Member(name, ADDRESSES[name], role, state, timeline, lag)


LEADER, STANDBY, OTHER = member(A, "leader", state="running", lag=None), member(B, "sync_standby"), member(C)
WHOLE = DatabaseCluster((LEADER, STANDBY, OTHER))


def choose(cluster: DatabaseCluster, *, to: str | None = None, lost: bool = False, synchronous: bool = True) -> str:
    return rules.choose(cluster, to=to, lost=lost, synchronous=synchronous).name


def test_the_standby_that_commits_wait_for_takes_over() -> None:
    assert choose(WHOLE) == B


def test_without_one_it_is_the_replica_that_is_the_least_behind() -> None:
    cluster = DatabaseCluster((LEADER, member(B, lag=500), member(C, lag=20)))
    assert choose(cluster, synchronous=False) == C


@pytest.mark.parametrize(
    ("cluster", "to", "synchronous", "reason"),
    [
        (WHOLE, C, True, "it is not the standby that commits wait for"),
        (DatabaseCluster((LEADER, member(B, lag=65 << 20))), None, False, "65.0 MiB behind web2"),
        (DatabaseCluster((LEADER, member(B, lag=None))), None, False, "an unknown amount behind web2"),
        (DatabaseCluster((STANDBY,)), None, True, "no host takes writes"),
    ],
)
def test_what_may_be_lost_is_said_and_accepted_only_with_a_word(
    cluster: DatabaseCluster, to: str | None, synchronous: bool, reason: str
) -> None:
    with pytest.raises(AirfleetError, match=reason) as refusal:
        choose(cluster, to=to, synchronous=synchronous)
    assert "--lost" in refusal.value.hint
    assert choose(cluster, to=to, synchronous=synchronous, lost=True)


@pytest.mark.parametrize(
    ("cluster", "to", "kind", "what"),
    [
        (WHOLE, A, UsageError, "web2 is already the primary"),
        (WHOLE, "web9", UsageError, "web9 is not a database host"),
        (
            DatabaseCluster((LEADER, replace(STANDBY, state="stopped"))),
            B,
            AirfleetError,
            "PostgreSQL of web3 does not run",
        ),
        (DatabaseCluster((LEADER,)), None, AirfleetError, "no replica runs"),
    ],
)
def test_who_cannot_take_over_does_not(
    cluster: DatabaseCluster, to: str | None, kind: type[AirfleetError], what: str
) -> None:
    with pytest.raises(kind, match=what):
        choose(cluster, to=to, lost=True)


def test_each_database_host_is_judged_by_what_it_does() -> None:
    said = {name: (well, detail) for name, well, detail in rules.judge(WHOLE, (A, B, C), synchronous=True)}
    assert said[A] == (True, "primary, running, timeline 3")
    assert said[B] == (True, "synchronous standby, streaming, timeline 3, 0 bytes behind web2")
    late = DatabaseCluster((LEADER, member(B, lag=1 << 30), member(C, timeline=2)))
    assert [well for _, well, _ in rules.judge(late, (A, B, C), synchronous=False)] == [True, False, False]


def test_a_host_that_is_away_a_primary_that_is_missing_and_no_standby_are_told() -> None:
    away = rules.judge(DatabaseCluster((LEADER, STANDBY)), (A, B, C), synchronous=True)
    assert away[-1] == (C, False, "Patroni there has not reported for some time")
    nobody = rules.judge(DatabaseCluster((STANDBY,)), (B,), synchronous=True)
    assert "no host takes writes" in nobody[0][2]
    alone = rules.judge(DatabaseCluster((LEADER, OTHER)), (A, C), synchronous=True)
    assert alone[-1][:2] == (A, False)


class World:
    """Database hosts of which any may be away; what is run there is kept."""

    def __init__(self, folder: Path, cluster: DatabaseCluster, more: str = "replication: synchronous\n") -> None:
        self.fleet: Fleet = parse(THREE + more)
        self.folder = StateFolder(folder)
        self.folder.create()
        self.cluster = cluster
        self.away: set[str] = set()
        self.ran: list[str] = []
        self.now = 0.0
        self.promotes_at: float | None = None
        self.refuses = False

    def run(self, name: str, script: str) -> Output:
        if name in self.away:
            raise HostError("it does not answer", where=name)
        if script == patroni.ask("cluster"):
            return Output(0, render(self.cluster), "")
        if "patronictl" in script:
            self.ran.append(script)
            if self.refuses:
                return Output(1, "Switchover failed, details: 412\n", "")
            target = script.partition("--candidate ")[2].split()[0]
            self.cluster = lead(self.cluster, target)
            return Output(0, "", "")
        return Output(0, "2026-01-01 00:00:00" if "clock_timestamp" in script else "1", "")

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.promotes_at is not None and self.now >= self.promotes_at:
            self.cluster = lead(self.cluster, B)

    def switch(self, to: str | None = None, *, lost: bool = False) -> Any:  # noqa: ANN401
        shells: Any = {name: Shell(self, name) for name in ADDRESSES}
        work = Switchover(
            self.fleet, self.folder, shells, notify=lambda _: None, clock=lambda: self.now, sleep=self.sleep
        )
        return work.run(to=to, lost=lost, timeout_s=60)


class Shell:
    def __init__(self, world: World, name: str) -> None:
        self._world, self._name = world, name

    def run(self, script: str, *, timeout_s: float = 60) -> Output:
        return self._world.run(self._name, script)


def lead(cluster: DatabaseCluster, name: str) -> DatabaseCluster:
    return DatabaseCluster(
        tuple(
            replace(one, role="leader" if one.name == name else "replica", state="running") for one in cluster.members
        )
    )


def render(cluster: DatabaseCluster) -> str:
    return json.dumps(
        {
            "members": [
                {"name": one.name, "host": one.address, "role": one.role, "state": one.state, "timeline": one.timeline}
                | ({"lag": one.lag} if one.lag is not None else {"lag": "unknown"} if not one.is_leader else {})
                for one in cluster.members
            ]
        }
    )


def test_patroni_says_it_again_as_it_was_read() -> None:
    assert database_cluster.parse(render(WHOLE)) == WHOLE
    with pytest.raises(AirfleetError, match="nothing that is known"):
        database_cluster.parse("<html>")


def test_patroni_switches_over_and_the_new_primary_is_written_down(tmp_path: Path) -> None:
    world = World(tmp_path, WHOLE)
    done = world.switch()
    assert (done.before, done.after) == (A, B)
    assert primary_record.read(world.folder).primary == B
    assert ["switchover --leader web2 --candidate web3 --force" in one for one in world.ran] == [True]


def test_any_database_host_that_answers_passes_it_on(tmp_path: Path) -> None:
    world = World(tmp_path, WHOLE)
    world.away = {A}
    assert world.switch().after == B
    world.away = set(ADDRESSES)
    with pytest.raises(AirfleetError, match="Patroni answers on no database host"):
        world.switch()


def test_a_primary_that_is_lost_is_replaced_without_being_told_to(tmp_path: Path) -> None:
    world = World(tmp_path, DatabaseCluster((STANDBY, OTHER)))
    world.promotes_at = 12.0
    assert world.switch().after == B
    assert world.ran == []


def test_a_host_that_lacks_data_is_promoted_only_with_a_word(tmp_path: Path) -> None:
    world = World(tmp_path, DatabaseCluster((OTHER,)))
    with pytest.raises(AirfleetError, match="no host takes writes"):
        world.switch()
    assert world.switch(lost=True).after == C
    assert "failover --candidate data1 --force" in world.ran[-1]


def test_a_switch_over_that_patroni_refuses_fails_with_its_words(tmp_path: Path) -> None:
    world = World(tmp_path, WHOLE)
    world.refuses = True
    with pytest.raises(HostError, match="412"):
        world.switch()


def test_one_database_host_has_nobody_to_hand_over_to(tmp_path: Path) -> None:
    world = World(tmp_path, WHOLE)
    world.fleet = parse(NINE)
    with pytest.raises(UsageError, match="only one database host"):
        world.switch()


def test_a_record_of_an_earlier_version_is_read_and_its_unfinished_promotion_refused(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.create()
    (tmp_path / "database.json").write_text('{"primary": "web2", "turn": 3, "target": "web2"}')
    assert primary_record.read(folder).primary == "web2"
    primary_record.check_settled(folder)
    (tmp_path / "database.json").write_text('{"primary": "web2", "turn": 3, "target": "web3"}')
    with pytest.raises(AirfleetError, match="began to promote web3"):
        primary_record.check_settled(folder)
