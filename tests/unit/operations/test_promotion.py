"""Promotions of three database hosts that are made up: who is chosen, where it stops, and what a cut-off leaves."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest

from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.database.observation import DatabaseHost, build_look, parse
from airfleet.operations.database.promotion import FENCE, FORGET, OPEN, UNFENCE, Promotion, PromotionResult
from airfleet.operations.database.rules import LAG_BYTES, judge_replicas
from airfleet.spec.fleet import Fleet
from airfleet.workspace import primary_record
from airfleet.workspace.state_folder import StateFolder
from clocks import MadeUpClock
from places import NINE
from places import parse as parse_fleet
from shells import MadeUpShell, name_host

THREE = NINE.replace("[web, monitor]", "[web, monitor, database]").replace(
    "[web]", "[web, database]"
)  # web2, web3 and data1
PRIMARY, OTHERS = "web2", ("web3", "data1")
WRITTEN = 1 << 32


class Killed(BaseException):
    """kill -9 of the control machine's process."""


@dataclass
class Server:
    """PostgreSQL on one host, as far as a promotion can tell."""

    role: str = "replica"
    position: int = WRITTEN
    timeline: int = 1
    follows: bool = True
    away: bool = False
    crashed: bool = False

    def look(self) -> str:
        if self.role == "stopped":
            state = "in production" if self.crashed else "shut down"
            return f"state {state}\nat {self.position >> 32:X}/{self.position & 0xFFFFFFFF:X}\nline {self.timeline}\n"
        status = "streaming" if self.follows and self.role == "replica" else ""
        return f"{self.role}|{self.timeline}|{self.position}|{status}\n"


@dataclass
class World:
    """Three servers, and the process that promotes one; it is killed before or after its n-th act."""

    folder: StateFolder
    fleet: Fleet
    servers: dict[str, Server] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    kill_at: int | None = None
    kill_after: bool = False
    acts: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    catches_up: bool = True

    def __post_init__(self) -> None:
        self.servers = self.servers or {PRIMARY: Server("primary"), **{name: Server() for name in OTHERS}}

    def promote(self, *, to: str | None = None, lost: bool = False) -> PromotionResult:
        fleet = primary_record.apply_to(self.fleet, self.folder)
        shells = {
            name: MadeUpShell(partial(self.answer, name), name_host(name), server.away)
            for name, server in self.servers.items()
        }
        clock = MadeUpClock()
        promotion = Promotion(
            fleet,
            self.folder,
            shells,  # type: ignore[arg-type]
            notify=self.log.append,
            clock=clock,
            sleep=clock.sleep,
        )
        return promotion.run(to=to, lost=lost, timeout_s=5)

    @property
    def primaries(self) -> list[str]:
        return [name for name, server in self.servers.items() if server.role == "primary"]

    def answer(self, host: str, script: str) -> str:
        """Do what a script says; the process that sent it is killed before or after the one whose turn it is."""
        with self.lock:  # several hosts are asked at once
            self.acts += 1
            turn = self.acts
        if turn == self.kill_at and not self.kill_after:
            raise Killed
        said = self.act(host, script)
        if turn == self.kill_at:
            raise Killed
        return said

    def act(self, host: str, script: str) -> str:
        server = self.servers[host]
        if script == build_look():
            return server.look()
        if script == FENCE:
            self.log.append(f"{host}: fence")
            if server.role == "primary" and self.catches_up:
                for other in self.servers.values():
                    if other.role == "replica" and other.follows and not other.away:
                        other.position = server.position
            server.role = "stopped"
            for other in self.servers.values():
                other.follows = False
        elif script == UNFENCE:
            self.log.append(f"{host}: unfence")
            server.role = "primary"
        elif script == FORGET:
            self.log.append(f"{host}: forget")
        elif script == OPEN:
            self.log.append(f"{host}: open")
        elif "pg_promote" in script:
            self.log.append(f"{host}: promote")
            assert server.role == "replica"
            server.role, server.timeline = "primary", server.timeline + 1
            return "t"
        elif "count(*)" in script:
            return "1"
        return ""


@pytest.fixture
def world(tmp_path: Path) -> World:
    folder = StateFolder(tmp_path)
    folder.create()
    return World(folder, parse_fleet(THREE))


def test_the_furthest_is_promoted_once_the_former_primary_is_stopped_and_all_of_it_has_arrived(world: World) -> None:
    world.servers[PRIMARY].position += 500
    world.servers["web3"].position -= 100
    done = world.promote()
    assert (done.before, done.after, done.fenced) == (PRIMARY, "data1", True)
    acts = [line for line in world.log if line.split(": ")[-1] in ("fence", "promote", "open")]
    assert acts == ["web2: fence", "data1: promote", "data1: open"]
    assert world.servers["data1"].position == world.servers[PRIMARY].position
    again = primary_record.apply_to(world.fleet, world.folder)
    assert (again.primary.name, again.promoted.turn, again.promoted.target) == ("data1", 1, "")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("lost", [False, True], ids=["it answers", "it is away"])
@pytest.mark.parametrize("first_to", [None, "data1"])
def test_whatever_was_cut_off_is_ended_with_the_same_host_and_one_primary(
    world: World, after: bool, lost: bool, first_to: str | None
) -> None:
    for kill_at in range(1, 30):
        world.folder.root.joinpath(primary_record.NAME).unlink(missing_ok=True)
        world.servers = {PRIMARY: Server("primary", away=lost), **{name: Server() for name in OTHERS}}
        world.acts, world.kill_at, world.kill_after = 0, kill_at, after
        try:
            world.promote(to=first_to, lost=lost)
        except Killed:
            world.kill_at = None
            begun = primary_record.read(world.folder).target
            done = world.promote(lost=lost)
            assert begun in ("", done.after)
        else:
            assert kill_at > 8
            return
        alive = [name for name in world.primaries if not world.servers[name].away]
        assert alive == [done.after] == [primary_record.read(world.folder).primary]
        assert [server.timeline for server in world.servers.values()].count(2) == 1
    raise AssertionError("it never came to its end")


def test_a_promotion_that_was_begun_is_not_begun_with_another(world: World) -> None:
    primary_record.write(world.folder, replace(primary_record.read(world.folder), target="data1"))
    with pytest.raises(AirfleetError, match="promotion of data1 was started"):
        world.promote(to="web3")
    with pytest.raises(AirfleetError, match="not finished"):
        primary_record.check_settled(world.folder)
    world.servers["data1"].away = True
    with pytest.raises(AirfleetError, match="it may accept writes"):
        world.promote(lost=True)
    with pytest.raises(AirfleetError, match="was started"):
        world.promote(to="web3")
    assert world.promote(to="web3", lost=True).after == "web3"
    primary_record.check_settled(world.folder)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_promotion_that_cannot_be_ended_is_given_up_from_wherever_it_stopped(world: World, after: bool) -> None:
    for kill_at in range(1, 30):
        world.folder.root.joinpath(primary_record.NAME).unlink(missing_ok=True)
        world.servers = {PRIMARY: Server("primary"), **{name: Server() for name in OTHERS}}
        world.acts, world.kill_at, world.kill_after, world.log = 0, kill_at, after, []
        with pytest.raises(Killed):
            world.promote(to="data1")
        world.kill_at = None
        if "data1: promote" in world.log:
            with pytest.raises(AirfleetError, match="started and is not finished"):
                world.promote(to=PRIMARY)
            return
        if primary_record.read(world.folder).target:
            done = world.promote(to=PRIMARY)
            assert (done.before, done.after) == ("data1", PRIMARY)
            assert world.log.index("data1: forget") < world.log.index(f"{PRIMARY}: unfence"), "never two primaries"
        assert world.primaries == [PRIMARY]
        primary_record.check_settled(world.folder)
    raise AssertionError("it never came to its end")


def test_a_promotion_of_a_host_that_is_gone_is_given_up_once_that_is_said(world: World) -> None:
    primary_record.write(world.folder, replace(primary_record.read(world.folder), target="data1"))
    world.servers[PRIMARY].role, world.servers["data1"].away = "stopped", True
    with pytest.raises(AirfleetError, match="was started"):
        world.promote(to=PRIMARY)
    assert world.promote(to=PRIMARY, lost=True).after == PRIMARY
    assert world.primaries == [PRIMARY]
    primary_record.check_settled(world.folder)


def test_a_primary_that_dies_before_its_promotion_has_ended_is_replaced(world: World) -> None:
    world.promote(to="web3")
    primary_record.write(world.folder, replace(primary_record.read(world.folder), target="web3"))
    primary_record.check_settled(world.folder)
    world.servers["web3"].away = True
    assert world.promote(lost=True).after == "data1"


def refuses(world: World, text: str, **words: str) -> None:
    """It stops before it does anything, and says what would be lost."""
    before = {name: replace(server) for name, server in world.servers.items()}
    with pytest.raises(AirfleetError, match=text):
        world.promote(**words)  # type: ignore[arg-type]
    assert world.servers == before
    assert primary_record.read(world.folder).target == ""


def test_one_that_stopped_following_is_not_promoted(world: World) -> None:
    world.servers["web3"].position -= LAG_BYTES + 1
    refuses(world, "web2 has 64.0 MiB more", to="web3")
    world.servers["web3"] = Server(follows=False)
    refuses(world, "web3 does not follow", to="web3")
    world.servers["web3"] = Server(timeline=0)
    refuses(world, "a later timeline", to="web3")
    assert world.promote(to="web3", lost=True).after == "web3"


@pytest.mark.parametrize("replication", ["asynchronous", "synchronous"])
def test_one_that_is_behind_another_is_not_promoted(world: World, replication: str) -> None:
    world.fleet = replace(world.fleet, replication=replication)  # type: ignore[arg-type]
    world.servers[PRIMARY].away = True
    world.servers["web3"].position -= 7
    for server in world.servers.values():
        server.follows = False
    refuses(world, "data1 has 7 bytes more", to="web3")


def test_without_the_primary_only_synchronous_replication_is_sure_and_only_with_all_replicas(world: World) -> None:
    world.servers[PRIMARY].away = True
    for server in world.servers.values():
        server.follows = False
    refuses(world, "only it may have the latest changes")
    world.fleet = replace(world.fleet, replication="synchronous")
    world.servers["web3"].away = True
    refuses(world, "the position of web3 is unknown")
    world.servers["web3"] = Server(follows=True)
    refuses(world, "web3 may still follow web2", to="data1")
    world.servers["web3"].follows = False
    assert world.promote().after in OTHERS


def test_a_primary_whose_database_crashed_may_have_more(world: World) -> None:
    world.servers[PRIMARY] = Server("stopped", crashed=True, position=WRITTEN - 1000)
    refuses(world, "PostgreSQL on web2 crashed")
    world.servers[PRIMARY].crashed = False
    assert world.promote().fenced


def test_what_does_not_arrive_gives_the_former_primary_back(world: World) -> None:
    world.servers[PRIMARY].position += 300
    world.catches_up = False
    with pytest.raises(AirfleetError, match="lacks 300 bytes of what web2 has, which is started again"):
        world.promote()
    assert world.primaries == [PRIMARY]
    primary_record.check_settled(world.folder)
    assert world.promote(lost=True).after in OTHERS
    assert any("without this data: 300 bytes" in line for line in world.log)


def test_nothing_is_promoted_beside_another_that_takes_writes(world: World) -> None:
    world.servers["web3"] = Server("primary", timeline=2)
    refuses(world, "web3 and web2 accept writes")
    world.servers[PRIMARY].role = "stopped"
    refuses(world, "web3 already accepts writes")
    refuses(world, "airfleet promotes no other host beside it", to="data1")
    assert world.promote(to="web3").after == "web3"
    assert "web3: promote" not in world.log


def test_what_is_no_replica_is_not_promoted(world: World) -> None:
    with pytest.raises(UsageError, match="not a database host"):
        world.promote(to="cpu1")
    with pytest.raises(UsageError, match="is already the primary"):
        world.promote(to=PRIMARY)
    world.servers["data1"].role = "stopped"
    refuses(world, "data1 is not a replica that answers", to="data1")


def test_a_fleet_with_one_database_has_nobody_to_promote(world: World) -> None:
    world.fleet = parse_fleet(NINE)
    with pytest.raises(UsageError, match="no replica to promote"):
        world.promote()


def test_status_tells_how_far_each_replica_is(world: World) -> None:
    world.servers["web3"].follows = False
    world.servers["data1"].position -= 2 << 20
    seen = {name: parse(name, server.look()) for name, server in world.servers.items()}
    assert judge_replicas(seen, PRIMARY) == [
        ("web3", False, "does not follow web2, 0 bytes behind"),
        ("data1", True, "follows web2, 2.0 MiB behind"),
    ]
    seen["data1"] = DatabaseHost("data1", "stopped")
    assert judge_replicas(seen, PRIMARY)[1] == (
        "data1",
        False,
        "it is not a replica: PostgreSQL there is stopped",
    )
