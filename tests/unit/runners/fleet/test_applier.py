"""Steps are carried out in order: waits between hosts, hosts that continue after a failure, and the report."""

from __future__ import annotations

import itertools
import subprocess
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airfleet.components.host_model import Service, Stage
from airfleet.runners.fleet.apply import applier, rolling_restart
from airfleet.runners.fleet.apply.applier import Applier, ApplyOutcome
from airfleet.runners.fleet.apply.rolling_restart import Rolling
from airfleet.runners.fleet.packaging import airflow_archive
from airfleet.runners.fleet.plan import diff, steps
from airfleet.runners.fleet.plan.facts import HostFacts
from airfleet.runners.fleet.survey import host_survey
from airfleet.runners.fleet.survey.host_survey import HostView
from airfleet.runners.fleet.transport.connection import HostError, Output
from clocks import MadeUpClock
from converged_hosts import converged
from deadline import PATIENCE_S
from places import NINE, desired, parse, with_setting
from shells import MadeUpConnection, name_host

HOSTS = [host.name for host in parse().hosts]


def carry_out(
    tmp_path: Any,  # noqa: ANN401
    *,
    fails: dict[str, str] | None = None,
    facts: Callable[[str], HostFacts] = lambda _: HostFacts(),
    text: str = NINE,
    lost: threading.Event | None = None,
    absent: tuple[str, ...] = (),
    hear: Callable[[str, str], None] = lambda _, __: None,
    answer: Callable[[str], str] = lambda _: "",
    rolls: bool = False,
) -> tuple[ApplyOutcome, list[tuple[str, str]]]:
    """Apply to all hosts: `fails` names a piece of work that fails on a host, `hear` hears of all, and may fail."""
    log: list[tuple[str, str]] = []

    def perform(host: str, what: str) -> Output | str:
        log.append((host, what))
        hear(host, what)
        part = (fails or {}).get(host, "")
        return Output(1, "", "it broke") if part and part in what else ""

    views = []
    for name in (name for name in HOSTS if name not in absent):
        want = desired(name, text)
        fake: Any = MadeUpConnection(answer, name_host(name), perform=partial(perform, name))
        recipe = airflow_archive.Recipe("3.11", "x86_64", "", "", ())
        views.append(HostView(fake, want, facts(name), diff.decide(want, facts(name)), recipe))
    archive = tmp_path / "archive"
    archive.touch()
    outcome = Applier(
        views,
        who="me@here",
        archives={views[0].desired.place.runtime.name: archive},
        clock=MadeUpClock(reading_s=1.0),
        notify=lambda _: None,
        lost=lost or threading.Event(),
        absent=absent,
        rolling=Rolling(views, drain_s=1, notify=lambda _: None, sleep=lambda _: None) if rolls else None,
    ).run()
    return outcome, log


def position(log: list[tuple[str, str]], host: str, what: str) -> int:
    return next(index for index, (name, done) in enumerate(log) if name == host and what in done)


def test_the_database_is_there_before_its_schema_and_that_before_who_reads_it(tmp_path: Any) -> None:  # noqa: ANN401
    outcome, log = carry_out(tmp_path)
    assert not outcome.errors
    assert not outcome.skipped
    order = [
        position(log, "data1", "start airfleet-postgresql"),
        position(log, "data1", "start airfleet-pgbouncer"),
        position(log, "sched1", "run metadata"),
        position(log, "web2", "start airfleet-api-server"),
        position(log, "sched2", "start airfleet-scheduler"),
        position(log, "io1", "start airfleet-worker-io"),
    ]
    assert order == sorted(order)


def test_small_steps_share_a_round_trip_and_all_are_told(tmp_path: Any) -> None:  # noqa: ANN401
    outcome, log = carry_out(tmp_path)
    assert len(log) < len(outcome.done) / 2


def test_a_worker_host_that_fails_stops_nobody_else(tmp_path: Any) -> None:  # noqa: ANN401
    outcome, log = carry_out(tmp_path, fails={"io1": "install"})
    assert [error.where for error in outcome.errors] == ["io1"]
    assert {step.host for step in outcome.skipped} == {"io1"}
    assert position(log, "cpu1", "start airfleet-worker-cpu") > 0


def test_without_the_database_nothing_after_it_is_started(tmp_path: Any) -> None:  # noqa: ANN401
    outcome, log = carry_out(tmp_path, fails={"data1": "start airfleet-postgresql"})
    assert not any("api-server" in what or "metadata" in what for _, what in log if what.startswith(("start", "run")))
    assert position(log, "web1", "unpack") > 0  # what needs no database went on
    assert {step.host for step in outcome.skipped} == set(HOSTS)


def test_without_its_schema_nobody_reads_the_database(tmp_path: Any) -> None:  # noqa: ANN401
    _, log = carry_out(tmp_path, fails={"sched1": "run metadata"})
    assert not any(what.startswith("start airfleet-api-server") for _, what in log)


def test_a_new_fleet_without_the_host_that_makes_the_schema_starts_nothing_that_reads_it(tmp_path: Any) -> None:  # noqa: ANN401
    _, log = carry_out(tmp_path, absent=("sched1",))
    assert position(log, "data1", "start airfleet-postgresql") > 0
    assert not any(what.startswith("start airfleet-api-server") for _, what in log)


def test_an_old_fleet_goes_on_without_its_first_scheduler(tmp_path: Any) -> None:  # noqa: ANN401
    text = with_setting(NINE, "concurrency: 32", "concurrency: 31")
    outcome, log = carry_out(tmp_path, absent=("sched1",), facts=lambda name: converged(desired(name)), text=text)
    assert position(log, "io1", "restart airfleet-worker-io") > 0
    assert not outcome.skipped


def test_a_lost_lease_ends_everything(tmp_path: Any) -> None:  # noqa: ANN401
    lost = threading.Event()
    lost.set()
    outcome, log = carry_out(tmp_path, lost=lost)
    assert log == []
    assert len(outcome.skipped) > 100


def test_a_slow_host_does_not_hold_up_the_database_and_the_schema(tmp_path: Path) -> None:
    made = threading.Event()

    def hear(host: str, what: str) -> None:
        if "run metadata" in what:
            made.set()
        if host == "io1" and what.startswith("unpack"):
            assert made.wait(PATIENCE_S), "the schema waited for a worker's packages"

    outcome, _ = carry_out(tmp_path, hear=hear)
    assert not outcome.errors


def test_the_services_of_a_stage_start_side_by_side_and_each_tells_how_it_ended(tmp_path: Any) -> None:  # noqa: ANN401
    _, log = carry_out(tmp_path)
    names = ("api-server", "execution-api", "tls-proxy")
    assert ("web2", ", ".join(f"start airfleet-{name}.service" for name in names)) in log


def test_one_service_that_fails_does_not_hide_how_the_others_ended(tmp_path: Path) -> None:
    def step(name: str) -> steps.Step:
        service = Service(name, "a service", Stage.CONTROL, ("/bin/true",), "root")
        return steps.Step("h1", Stage.CONTROL, steps.Bring(service, "start"), f"start {name}", "why")

    text = applier.build_script([step("good"), step("bad")], "me")
    bodies = {"good": "sleep 0.1", "bad": "echo broken >&2; exit 3"}
    for name, body in bodies.items():
        text = text.replace(steps.script(step(name).action), body)
    text = text.replace("/var/log/airfleet", str(tmp_path))
    done = subprocess.run(["sh", "-s"], input=text, capture_output=True, text=True, check=False)
    told = sorted(line.split(" ", 2)[2] for line in (tmp_path / "audit.log").read_text().splitlines())
    assert (done.returncode, told) == (1, ["done: start good (why)", "failed: start bad (why)"])


def test_hosts_that_serve_the_same_are_restarted_one_after_another(tmp_path: Any) -> None:  # noqa: ANN401
    text = with_setting(NINE, "name: flights", "name: flights\nairflow: {api: {expose_config: true}}")
    _, log = carry_out(tmp_path, facts=lambda name: converged(desired(name)), text=text)
    restarts = [host for host, what in log if what.startswith("restart airfleet-api") or "execution-api" in what]
    assert [host for host, _ in itertools.groupby(restarts)] == ["web1", "web2", "web3"]


def test_a_connection_that_is_lost_between_two_steps_is_the_outcome_of_one_host(tmp_path: Path) -> None:
    text = with_setting(NINE, "concurrency: 32", "concurrency: 31")
    text = with_setting(text, "concurrency: 4,", "concurrency: 5,")

    def hear(host: str, what: str) -> None:
        if host == "io1" and "checking the workers" in what:
            raise HostError("the connection broke", where=host)

    outcome, log = carry_out(tmp_path, facts=lambda name: converged(desired(name)), text=text, hear=hear, rolls=True)
    assert [(error.where, error.what) for error in outcome.errors] == [("io1", "the connection broke")]
    assert {step.host for step in outcome.skipped} == {"io1"}
    assert position(log, "cpu1", "restart airfleet-worker-cpu") > 0


@pytest.mark.parametrize(("after", "restarts"), [("sched1:before", 1), ("sched1:after", 2)])
def test_the_next_scheduler_is_left_as_it_is_when_one_did_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str, restarts: int
) -> None:
    monkeypatch.setattr(rolling_restart, "STANDBY_S", 0)
    restarted: list[str] = []

    def hear(host: str, what: str) -> None:
        if "restart airfleet-scheduler" in what:
            restarted.append(host)

    text = with_setting(NINE, "name: flights", "name: flights\nairflow: {scheduler: {parsing_processes: '3'}}")
    outcome, log = carry_out(
        tmp_path,
        facts=lambda name: converged(desired(name)),
        text=text,
        hear=hear,
        answer=lambda _: after if restarted else "sched1:before\n",  # what the database says of the candidates
        rolls=True,
    )
    assert len([host for host, what in log if "restart airfleet-scheduler.service" in what]) == restarts
    if restarts == 1:
        (error,) = outcome.errors
        assert "its scheduler did not come back" in error.what
        assert any(step.stage == Stage.CONTROL for step in outcome.skipped)


def test_what_nobody_thought_of_is_the_error_of_one_host(tmp_path: Path) -> None:
    def hear(host: str, what: str) -> None:
        if host == "io1" and "install" in what:
            raise AttributeError("'Channel' object has no attribute 'setsockopt'")

    outcome, log = carry_out(tmp_path, hear=hear)
    assert [error.where for error in outcome.errors] == ["io1"]
    assert "unexpected: AttributeError: 'Channel' object" in outcome.errors[0].what
    assert position(log, "cpu1", "start airfleet-worker-cpu") > 0


def test_what_nobody_thought_of_while_hosts_are_looked_at_is_the_error_of_one_host(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def look(_: object, connection: Any) -> HostView:  # noqa: ANN401
        if connection.host.name == "io1":
            raise AttributeError("'Channel' object has no attribute 'setsockopt'")
        fake: Any = MadeUpConnection()
        return HostView(
            fake, desired(connection.host.name), HostFacts(), (), airflow_archive.Recipe("3.11", "x86_64", "", "", ())
        )

    monkeypatch.setattr(host_survey, "inspect", look)
    spec: Any = SimpleNamespace(fleet=parse(), project=tmp_path, accept_new_hosts=False)
    with ExitStack() as stack:
        survey = host_survey.survey(spec, stack, lambda _: None)
    assert [error.where for error in survey.errors] == ["io1"]
    assert len(survey.views) == len(HOSTS) - 1
