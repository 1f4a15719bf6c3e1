"""Runs that `airfleet run` triggers and follows, with a database and a command line of Airflow that a test leads."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from airfleet.cli import run as verb
from airfleet.errors import AirfleetError, UsageError
from airfleet.operations import dag_runs, explanation
from airfleet.operations.dag_runs import AirflowResult, FollowedRun, FollowedTask
from airfleet.operations.explanation import ReadablePlatform
from airfleet_provider.contract.explanation import reading
from command_line import invoke

PLACE = cast("ReadablePlatform", object())
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
RUN = {"state": "running", "queued": NOW, "started": NOW, "ended": None}
OVER = {"state": "success", "queued": NOW, "started": NOW, "ended": NOW + timedelta(seconds=3)}

Rows = Sequence[Mapping[str, Any]]


class LedDatabase:
    """A metadata database with one Dag, whose run is what the next of `looks` says; an error is an outage."""

    def __init__(self, *looks: Mapping[str, Any] | AirfleetError | None, is_paused: bool = False) -> None:
        self.looks = list(looks)
        self.is_paused = is_paused

    @contextmanager
    def take(self) -> Iterator[Callable[[str, Mapping[str, Any]], Rows]]:
        def query(sql: str, parameters: Mapping[str, Any]) -> Rows:
            if sql == dag_runs.SQL["run"]:
                look = self.looks.pop(0)
                if isinstance(look, AirfleetError):
                    raise look
                return [look] if look else []
            if sql == dag_runs.SQL["dag"]:
                return [{"is_paused": self.is_paused}]
            return [{"dag": "sales"}] if sql == reading.SQL["like_dags"] else []

        yield query


@pytest.fixture
def lead(monkeypatch: pytest.MonkeyPatch) -> Callable[[LedDatabase], None]:
    def use(database: LedDatabase) -> None:
        @contextmanager
        def open_database(_: object) -> Iterator[LedDatabase]:
            yield database

        monkeypatch.setattr(explanation, "open_database", open_database)

    return use


def answer(code: int, output: str = "") -> tuple[dag_runs.RunAirflow, list[Sequence[str]]]:
    asked: list[Sequence[str]] = []

    def run_airflow(words: Sequence[str]) -> AirflowResult:
        asked.append(words)
        return AirflowResult(code, output)

    return run_airflow, asked


def test_a_new_run_is_triggered_with_its_conf(lead: Callable[[LedDatabase], None]) -> None:
    lead(LedDatabase(None))
    run_airflow, asked = answer(0)
    assert dag_runs.trigger(PLACE, "sales", "one", '{"day":1}', run_airflow)
    assert asked == [("dags", "trigger", "--run-id=one", '--conf={"day":1}', "--output=json", "--", "sales")]


def test_a_run_that_exists_is_not_made_again(lead: Callable[[LedDatabase], None]) -> None:
    lead(LedDatabase(RUN))
    run_airflow, asked = answer(0)
    assert not dag_runs.trigger(PLACE, "sales", "one", None, run_airflow)
    assert not asked


@pytest.mark.parametrize(("dag", "message"), [("sales", "is paused"), ("sale", "there is no Dag 'sale'")])
def test_a_dag_that_cannot_run_is_refused(lead: Callable[[LedDatabase], None], dag: str, message: str) -> None:
    lead(LedDatabase(None, is_paused=True))
    run_airflow, asked = answer(0)
    with pytest.raises(UsageError, match=message):
        dag_runs.trigger(PLACE, dag, "one", None, run_airflow)
    assert not asked


def test_a_command_that_was_cut_off_after_the_run_was_made_is_a_success(lead: Callable[[LedDatabase], None]) -> None:
    lead(LedDatabase(None, RUN))
    run_airflow, _ = answer(255, "the connection was lost")
    assert dag_runs.trigger(PLACE, "sales", "one", None, run_airflow)


@pytest.mark.parametrize(
    ("after", "message"),
    [(None, "Airflow did not make the run: no such thing"), (AirfleetError("no answer"), "is not known: no answer")],
)
def test_an_error_says_how_to_try_again_without_a_second_run(
    lead: Callable[[LedDatabase], None], after: AirfleetError | None, message: str
) -> None:
    lead(LedDatabase(None, after))
    run_airflow, _ = answer(1, "\nno such thing\n")
    with pytest.raises(AirfleetError, match=message) as raised:
        dag_runs.trigger(PLACE, "sales", "one", None, run_airflow)
    assert "--run-id one tries again, and makes no second run" in str(raised.value)


def follow(looks: list[FollowedRun], notices: list[str]) -> FollowedRun:
    clock = iter(range(0, 10_000, 10))
    return dag_runs.follow(
        PLACE, "sales", "one", show=looks.append, notify=notices.append, sleep=lambda _: None, clock=lambda: next(clock)
    )


def test_an_outage_of_the_database_does_not_end_following(lead: Callable[[LedDatabase], None]) -> None:
    outage = AirfleetError("no answer")
    lead(LedDatabase(RUN, outage, outage, RUN, outage, OVER))
    looks: list[FollowedRun] = []
    notices: list[str] = []
    assert follow(looks, notices).state == "success"
    assert [look.state for look in looks] == ["running", "running", "success"]
    assert len(notices) == 2


def test_a_long_outage_ends_following_but_not_the_run(lead: Callable[[LedDatabase], None]) -> None:
    lead(LedDatabase(RUN, *[AirfleetError("no answer")] * 100))
    with pytest.raises(AirfleetError, match="the run may go on"):
        follow([], [])


def test_a_run_that_was_deleted_has_no_result(lead: Callable[[LedDatabase], None]) -> None:
    lead(LedDatabase(RUN, None))
    with pytest.raises(AirfleetError, match="was deleted"):
        follow([], [])


@pytest.mark.parametrize("text", ["", "{", "[1]", "1", '{"a": NaN}', "[" * 100_000, json.dumps({"a": "x" * 100_000})])
def test_a_conf_that_airflow_would_not_take_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--conf"):
        dag_runs.parse_conf(text)


def test_a_conf_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "conf.json").write_text('{"day": 1}')
    assert dag_runs.parse_conf(verb.read_conf(f"@{tmp_path}/conf.json")) == '{"day":1}'
    with pytest.raises(UsageError, match="cannot read the file"):
        verb.read_conf(f"@{tmp_path}/none.json")


def test_what_a_task_wrote_sends_nothing_to_the_terminal() -> None:
    body = {"timestamp": "2026-11-29T12:00:01.5Z", "level": "error", "event": "no rows \x1b[31m\nin it"}
    assert dag_runs.format_line(json.dumps(body)) == "12:00:01 error no rows \\x1b[31m\\nin it"
    assert dag_runs.format_line("plain \x1b[0m text") == "plain \\x1b[0m text"


def make_task(state: str, try_number: int = 1) -> FollowedTask:
    ended = NOW + timedelta(seconds=2) if state == "success" else None
    return FollowedTask("load", 3, try_number, state, NOW, ended)


def test_each_change_of_a_task_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    progress = verb.RunNarrator("sales", "one", clock=lambda: 0.0)
    for state, number in (("queued", 1), ("running", 1), ("running", 1), ("up_for_retry", 1), ("success", 2)):
        progress.show(FollowedRun("running", NOW, NOW, None, (make_task(state, number),)))
    shown = [line.strip() for line in capsys.readouterr().err.splitlines()]
    assert shown == ["load[3] running", "load[3] up_for_retry", "load[3] success, try 2, 2.0 s"]


def test_whoever_follows_a_run_in_which_nothing_runs_is_told_where_to_ask(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter((0.0, 10.0, 35.0, 45.0, 60.0))
    progress = verb.RunNarrator("sales", "one", clock=lambda: next(times))
    for _ in range(4):
        progress.show(FollowedRun("running", NOW, NOW, None, (make_task("queued"),)))
    assert capsys.readouterr().err.count("airfleet explain sales one") == 1


def test_an_empty_id_is_refused_and_makes_no_run_of_another_id() -> None:
    """Else a script whose variable is empty would make a run each time that it is retried."""
    done = invoke("run", "sales", "--run-id", "")
    assert isinstance(done.exception, UsageError)
    assert "--run-id is empty" in str(done.exception)


class InterruptedChild:
    """A process during which somebody presses Ctrl-C."""

    killed = 0
    returncode = 0

    def __init__(self, *_: object, **__: object) -> None: ...

    def __enter__(self) -> InterruptedChild:
        return self

    def __exit__(self, *_: object) -> None: ...

    def communicate(self, *_: object, **__: object) -> tuple[str, str]:
        raise KeyboardInterrupt

    def kill(self) -> None:
        InterruptedChild.killed += 1


def test_an_interrupt_does_not_kill_the_command_that_makes_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", InterruptedChild)
    place = cast("ReadablePlatform", SimpleNamespace(project=Path("p"), state=None))
    with pytest.raises(KeyboardInterrupt):
        verb.call_airfleet(place, "airflow", words=["dags"])
    assert InterruptedChild.killed == 0
