"""Brokers restart one after another while other nodes hold the queues; together only if they must."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airfleet.components.host_model import Stage
from airfleet.components.rabbitmq import server
from airfleet.runners.fleet.apply.applier import Applier, ApplyOutcome
from airfleet.runners.fleet.apply.rolling_restart import Rolling
from airfleet.runners.fleet.packaging import airflow_archive
from airfleet.runners.fleet.plan.facts import HostFacts
from airfleet.runners.fleet.plan.steps import Bring, Step
from airfleet.runners.fleet.survey.host_survey import HostView
from airfleet.runners.fleet.transport.connection import Output
from clocks import MadeUpClock
from deadline import PATIENCE_S
from places import NINE, desired
from shells import MadeUpConnection, name_host

CLUSTER = NINE.replace("roles: [scheduler]", "roles: [scheduler, broker]")
BROKERS = ("data1", "sched1", "sched2")


@dataclass
class Cluster:
    """Three brokers. A restarted broker has caught up after `away` questions."""

    away: int = 2
    stopped: frozenset[str] = frozenset()
    strange: frozenset[str] = frozenset()
    broken: frozenset[str] = frozenset()
    told: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    behind: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def connect(self, name: str) -> Any:  # noqa: ANN401 - a connection as far as it is used here
        def perform(what: str) -> Output | str:
            with self.lock:
                self.log.append(f"{name}: {what}")
                if "restart airfleet-rabbitmq" in what:
                    if name in self.broken:
                        return Output(1, "", "it broke")
                    self.behind[name] = self.away
            return ""

        def answer(script: str) -> Output:
            with self.lock:
                return Output(self.answer(name, script), "", "")

        return MadeUpConnection(answer, name_host(name), perform=perform)

    def answer(self, name: str, script: str) -> int:
        if "check_if_node_is_quorum_critical" not in script:
            return int(name in self.stopped)
        if name in self.strange:
            return server.STRANGE
        others = [other for other in BROKERS if other != name]
        is_needed = any(other in self.stopped or self.behind.get(other, 0) > 0 for other in others)
        for other in others:
            self.behind[other] = self.behind.get(other, 0) - 1
        return server.NEEDED if is_needed else 0


def restart(cluster: Cluster, steps: Mapping[str, str], absent: tuple[str, ...] = ()) -> ApplyOutcome:
    """Apply steps that bring RabbitMQ on these hosts into these states."""
    views = []
    for name in BROKERS:
        if name in absent:
            continue
        want = desired(name, CLUSTER)
        [service] = [one for one in want.services if one.name == server.NAME]
        how: Any = steps.get(name)
        own = (Step(name, Stage.STORES, Bring(service, how), f"{how} {service.unit}", "it changed"),) if how else ()
        views.append(
            HostView(
                cluster.connect(name), want, HostFacts(), own, airflow_archive.Recipe("3.11", "x86_64", "", "", ())
            )
        )
    ticks = MadeUpClock(reading_s=1.0)
    return Applier(
        views,
        who="me@here",
        archives={},
        clock=ticks,
        notify=lambda _: None,
        lost=threading.Event(),
        rolling=Rolling(views, drain_s=1, notify=cluster.told.append, clock=ticks, sleep=lambda _: None),
    ).run()


ALL = dict.fromkeys(BROKERS, "restart")


def test_each_broker_is_waited_for_until_it_has_caught_up() -> None:
    cluster = Cluster()
    assert not restart(cluster, ALL).errors
    assert [line.split(":")[0] for line in cluster.log] == list(BROKERS), "the primary first, then one by one"
    assert cluster.told == []
    assert all(cluster.behind[name] <= 0 for name in BROKERS[:-1])


def test_a_broker_whose_fellow_does_not_come_back_stays_up() -> None:
    cluster = Cluster(broken=frozenset({"sched1"}))
    outcome = restart(cluster, ALL)
    assert [error.where for error in outcome.errors] == ["sched1"]
    assert "sched2: restart airfleet-rabbitmq.service" not in cluster.log
    assert {step.host for step in outcome.skipped} == {"sched2"}


def test_a_broker_that_is_down_is_started_before_any_other_restarts() -> None:
    cluster = Cluster()
    assert not restart(cluster, {**ALL, "sched2": "start"}).errors
    assert cluster.log[0] == "sched2: start airfleet-rabbitmq.service"


def test_no_broker_is_stopped_while_another_one_is_down() -> None:
    cluster = Cluster(stopped=frozenset({"sched2"}))
    outcome = restart(cluster, {"data1": "restart", "sched1": "restart"})
    [error] = outcome.errors
    assert "sched2 is down" in error.what
    assert error.hint
    assert cluster.log == []


def test_a_broker_of_a_host_that_is_away_is_down() -> None:
    cluster = Cluster(stopped=frozenset({"sched2"}))
    assert "sched2 is down" in restart(cluster, {"data1": "restart"}, absent=("sched2",)).errors[0].what


def test_copies_that_a_host_took_along_that_left_the_fleet_hold_up_no_change() -> None:
    cluster = Cluster(away=10**6)
    assert not restart(cluster, ALL).errors
    assert len(cluster.log) == 3
    assert all("too few copies" in line for line in cluster.told)


def test_brokers_with_another_cookie_restart_at_once_as_they_would_not_find_each_other() -> None:
    cluster = Cluster(strange=frozenset(BROKERS), stopped=frozenset(BROKERS))
    assert not restart(cluster, ALL).errors
    assert len(cluster.log) == 3


def run_question(tmp_path: Path, ping: int | str, check: int, *, active: bool = True) -> int:
    """Return the exit code of the question when RabbitMQ's tool exits with this code."""
    place = desired("sched1", CLUSTER).place
    for name, text in {
        "systemctl": f"exit {int(not active)}",
        "runuser": 'shift 3; exec "$@"',
        "rabbitmq-diagnostics": (
            f"case \"$*\" in '-q --longnames -n rabbit@'*' ping') exit {ping};; "
            f"*' check_if_node_is_quorum_critical') exit {check};; esac; exit 99"
        ),
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    script = f"PATH={tmp_path}:$PATH\n" + server.ask_to_stop(place).replace(server.TOOLS, str(tmp_path))
    return subprocess.run(["bash", "-c", script], check=False, timeout=PATIENCE_S).returncode


def test_the_tools_of_a_node_say_whether_it_may_stop(tmp_path: Path) -> None:
    assert run_question(tmp_path, 0, 0) == 0
    assert run_question(tmp_path, 0, 69) == server.NEEDED
    assert run_question(tmp_path, 69, 69) == server.STRANGE
    assert run_question(tmp_path, 69, 69, active=False) == 0


def test_a_handshake_that_took_too_long_once_restarts_no_other_broker(tmp_path: Path) -> None:
    """A busy host may be slower than Erlang allows; all brokers would restart at once for nothing."""
    first = f"$(mkdir {tmp_path}/asked 2>/dev/null && echo 69 || echo 0)"
    assert run_question(tmp_path, first, 0) == 0
    assert (tmp_path / "asked").exists()
