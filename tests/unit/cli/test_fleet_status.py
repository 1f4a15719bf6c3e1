"""`airfleet status` of a fleet: each host with its roles, its problem, and a hint."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airfleet.cli import fleet_page
from airfleet.components.model import reveal
from airfleet.operations import fleet_status
from airfleet.operations.fleet_status import FleetReport
from airfleet.runners.fleet.packaging import airflow_archive
from airfleet.runners.fleet.plan import systemd_units
from airfleet.runners.fleet.plan.facts import HostFacts, UnitFact
from airfleet.runners.fleet.survey.host_survey import HostView
from airfleet.runners.fleet.survey.outside_health import Aspect, HealthObservation
from airfleet.runners.fleet.transport.connection import HostError
from airfleet.workspace.airflow_version import Running
from places import desired, parse
from shells import MadeUpConnection

FLEET = parse()


def look(name: str, **changed: UnitFact) -> HostView:
    want = desired(name)
    known = {
        one.unit: UnitFact("active", "enabled", reveal(systemd_units.fingerprint(one).content)) for one in want.services
    }
    known |= {f"airfleet-{service.replace('_', '-')}.service": fact for service, fact in changed.items()}
    connection: Any = None
    return HostView(connection, want, HostFacts(units=known), (), airflow_archive.Recipe("3.11", "x86_64", "", "", ()))


def build(*, down: str = "", seen: tuple[HealthObservation, ...] = (), **changed: dict[str, UnitFact]) -> FleetReport:
    views = [look(host.name, **changed.get(host.name, {})) for host in FLEET.hosts if host.name != down]
    errors = [HostError("it does not answer to SSH", where=down, hint="look whether it is up")] if down else []
    return fleet_status.build(FLEET, views, errors, seen)


def test_a_fleet_that_is_well_has_no_problems() -> None:
    report = build(seen=(HealthObservation("queue io", True, "1 worker", Aspect.QUEUE, "io"),))
    assert report.problems == ()
    assert {host.state for host in report.hosts} == {"up"}
    assert [host.roles for host in report.hosts if host.host in ("web1", "cpu1")] == [
        "web, balancer",
        "worker (default, cpu)",
    ]


def test_a_fleet_between_two_versions_of_airflow_is_told_how_to_go_on() -> None:
    assert build(seen=(fleet_status.judge_version(Running("3.3.2", before="3.3.1")),)).problems == ()
    (problem,) = build(seen=(fleet_status.judge_version(Running("3.3.1", target="3.3.2")),)).problems
    assert problem.what == "Airflow: moving from 3.3.1 to 3.3.2"
    assert "upgrade --back" in problem.hint


def test_a_host_that_is_down_is_in_the_table_and_what_it_served_is_told() -> None:
    report = build(down="io1", seen=(HealthObservation("queue io", False, "0 workers", Aspect.QUEUE, "io"),))
    (io1,) = [host for host in report.hosts if host.host == "io1"]
    assert (io1.state, io1.running, io1.services) == ("down", 0, 0)
    host, queue = report.problems
    assert (host.where, host.hint) == ("io1", "look whether it is up")
    assert queue.what == "no worker serves the queue io of the pool io: its tasks wait"
    assert "bring io1 back" in queue.hint


def test_workers_that_are_up_are_not_to_be_brought_back() -> None:
    (queue,) = build(seen=(HealthObservation("queue io", False, "0 workers", Aspect.QUEUE, "io"),)).problems
    assert "back" not in queue.hint
    assert "airfleet logs worker-io" in queue.hint
    assert "airfleet workers list" in queue.hint


def test_a_queue_without_workers_while_a_broker_is_gone_is_laid_to_the_broker() -> None:
    *_, queue = build(
        down="data1", seen=(HealthObservation("queue io", False, "0 workers", Aspect.QUEUE, "io"),)
    ).problems
    assert "RabbitMQ of data1 is down" in queue.hint
    assert "io1" not in queue.hint


def test_a_worker_that_does_not_run_is_told_with_its_pool_and_queues() -> None:
    (problem,) = build(io1={"worker-io": UnitFact("failed", "enabled")}).problems
    assert problem.what == "worker-io (worker of the pool io, which serves the queue io) is not running: it is failed"


@pytest.mark.parametrize(
    ("fact", "what"),
    [
        (UnitFact("failed", "enabled"), "triggerer is not running: it is failed"),
        (UnitFact("activating", "enabled", restarts=7), "triggerer keeps ending: 7 restarts, now activating"),
        (UnitFact("deactivating", "enabled"), "triggerer stops when its tasks have ended"),
    ],
)
def test_a_service_that_does_not_run_is_told_with_a_hint(fact: UnitFact, what: str) -> None:
    report = build(sched2={"triggerer": fact})
    (problem,) = report.problems
    assert (problem.where, problem.what) == ("sched2", what)
    assert problem.hint
    assert {host.host for host in report.hosts if host.state == "degraded"} == {"sched2"}


def test_a_service_that_was_never_set_up_waits_for_an_apply() -> None:
    empty = replace(look("web2"), facts=HostFacts())
    report = fleet_status.build(FLEET, [empty], [], ())
    (problem,) = report.problems
    assert problem.what.startswith("not set up yet: node-exporter, api-server")
    assert "airfleet apply" in problem.hint


def test_an_archive_that_takes_nothing_is_a_problem_of_the_primary() -> None:
    report = build(
        seen=(HealthObservation("archive", False, "no change archived for 15 min: 3 files wait", Aspect.BACKUP),)
    )
    (problem,) = report.problems
    assert (problem.where, problem.what) == ("data1", "archive: no change archived for 15 min: 3 files wait")
    assert "airfleet logs backup --host data1" in problem.hint


def test_the_page_says_the_same_and_escapes_what_hosts_say() -> None:
    down = HostError("it said <script>", where="io1", hint="look & see")
    views = [look(host.name) for host in FLEET.hosts if host.name != "io1"]
    queue = HealthObservation("queue io", False, "0", Aspect.QUEUE, "io")
    page = fleet_page.render(fleet_status.build(FLEET, views, [down], (queue,)), "today")
    assert "it said &lt;script&gt;<br><small>look &amp; see</small>" in page
    assert "no worker serves the queue io of the pool io" in page
    assert "<title>flights: 2 problems</title>" in page


def answering(*answers: str) -> Any:  # noqa: ANN401 - a connection as far as it is used here
    """Return a host that gives these answers one after another."""
    left = iter(answers)
    return MadeUpConnection(perform=lambda _: next(left))


@pytest.mark.parametrize(
    ("missing", "current", "wanted", "said"),
    [
        ("", "alembic_version a1\n", "alembic_version a1\n", (True, "matches Airflow's version")),
        ("dag\nxcom\n", "", "", (False, "tables are missing: dag, xcom")),
        ("", "alembic_version a1\n", "alembic_version b2\n", (False, "it is at a1, and Airflow needs b2")),
    ],
)
def test_a_schema_that_is_not_whole_is_a_problem(
    missing: str, current: str, wanted: str, said: tuple[bool, str]
) -> None:
    primary, keeper = answering(missing, current), answering(wanted)
    views = (
        replace(look("data1"), connection=primary),
        replace(look("sched1"), connection=keeper, facts=replace(look("sched1").facts, jobs={"metadata": "f"})),
    )
    (observation,) = fleet_status._look_at_schema(FLEET, views)
    assert (observation.is_well, observation.detail) == said
    problems = build(seen=(observation,)).problems
    assert len(problems) == (not observation.is_well)
    assert all(one.where == "data1" and "db restore" in one.hint for one in problems)
    assert list(fleet_status._look_at_schema(FLEET, (look("data1"), look("sched1")))) == []  # it was never made
