"""Explanations from facts that are written down here: queues and workers, what is told of a run, text and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airfleet.cli import explain_view
from airfleet_provider.contract.explanation import model, structure
from airfleet_provider.contract.explanation.catalogue import MEANINGS
from airfleet_provider.contract.explanation.explain import explain
from airfleet_provider.contract.explanation.facts import (
    BrokerState,
    DagFacts,
    Facts,
    FullLimit,
    JobFacts,
    OpenBreaker,
    PlatformFacts,
    PoolFacts,
    QueueActivity,
    RunFacts,
    SlotHolder,
    TaskCount,
    TaskFacts,
    WorkerState,
)
from airfleet_provider.contract.explanation.model import Explanation, Subject
from airfleet_provider.contract.explanation.reading import NotFoundError, parse_task, resolve
from airfleet_provider.contract.explanation.task_log import find_error

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


DAG = DagFacts(
    dag="sales",
    is_paused=False,
    is_stale=False,
    has_import_errors=False,
    has_max_runs=False,
    bundle="b",
    release=None,
    file="sales.py",
    max_active_tasks=16,
    max_active_runs=16,
    next_logical_date=None,
    next_run_after=NOW + timedelta(hours=1),
    schedule="@hourly",
    by_assets=False,
    run_types=None,
    parsed_at=ago(60),
    live_release=None,
    live_since=None,
)
RUN = RunFacts(
    "r1", "running", "manual", ago(900), ago(900), ago(900), ago(890), None, None, None, False, False, None, None
)
TASK = TaskFacts(
    task="load",
    map_index=-1,
    state="queued",
    try_number=1,
    max_tries=0,
    pool="slow",
    pool_slots=1,
    queue="io",
    priority=1,
    scheduled_at=ago(125),
    queued_at=ago(120),
    started=None,
    ended=None,
    updated=ago(120),
    heartbeat=None,
    hostname=None,
    pid=None,
    queued_by=4,
    retry_delay_s=None,
    retry_reason=None,
    trigger=None,
    trigger_class=None,
    trigger_since=None,
    trigger_until=None,
    triggerer=None,
    reschedule_at=None,
)
SCHEDULER = JobFacts(4, "SchedulerJob", "s1", 2.0, ago(2))


def explain_queued(workers: Sequence[WorkerState] | None, broker: BrokerState | None = None) -> Explanation:
    platform = PlatformFacts(
        jobs=(SCHEDULER,),
        activity=(QueueActivity("io", "queued", 7, ago(120)),),
        executor="celery",
        workers=None if workers is None else tuple(workers),
        broker=broker,
    )
    counts = (TaskCount("load", "queued", 1),)
    facts = Facts(NOW, Subject("sales", "r1", "load"), platform, DAG, RUN, counts=counts, tasks=(TASK,))
    return explain(facts)


def worker(state: str, running: int = 0, queue: str = "io") -> WorkerState:
    return WorkerState("io@w1", state, (queue,), 4, running)


@pytest.mark.parametrize(
    ("workers", "code", "command"),
    [
        ([worker("draining", 1)], "workers-draining", "airfleet workers resume io@w1"),
        ([worker("drained")], "workers-draining", "airfleet workers resume io@w1"),
        ([worker("away")], "queue-unserved", "airfleet workers list"),
        ([worker("full")], "queue-unserved", "airfleet workers list"),
        ([worker("serving", queue="cpu")], "queue-unserved", "airfleet workers list"),
        ([worker("serving", 4)], "workers-full", "airfleet top"),
        ([worker("serving", 3)], "in-queue", "airfleet top"),
        (None, "in-queue", "airfleet top"),
    ],
)
def test_a_queued_task_waits_for_its_workers(workers: list[WorkerState] | None, code: str, command: str) -> None:
    first = explain_queued(workers).causes[0]
    assert (first.code, first.commands[0]) == (code, command)


@pytest.mark.parametrize("state", ["failed", "success"])
def test_a_dag_whose_last_run_failed_says_which_command_tells_why(state: str) -> None:
    told = explain(Facts(NOW, Subject("sales"), PlatformFacts(), DAG, last_run=replace(RUN, state=state))).summary
    assert ("`airfleet explain sales r1` says why" in told) is (state == "failed")


@pytest.mark.parametrize("types", [None, ("manual", "scheduled"), ("asset_triggered",), ("backfill", "scheduled")])
@pytest.mark.parametrize(
    "changes",
    [{}, {"next_run_after": None, "schedule": None}, {"next_run_after": None, "by_assets": True}],
    ids=["due later", "no schedule", "assets"],
)
def test_a_run_by_hand_is_advised_only_where_the_dag_allows_it(
    types: tuple[str, ...] | None, changes: dict[str, Any]
) -> None:
    dag = replace(DAG, run_types=types, **changes)
    causes = explain(Facts(NOW, Subject("sales"), PlatformFacts(), dag)).causes
    may = types is None or "manual" in types
    assert any("airfleet run sales" in one.commands for one in causes) is may
    assert may or not any("by hand starts" in one.advice or "triggers it" in one.advice for one in causes)


@pytest.mark.parametrize("task", [None, "load"])
def test_the_latest_run_of_a_dag_without_runs_is_not_looked_for_among_its_tasks(task: str | None) -> None:
    with pytest.raises(NotFoundError, match="the Dag sales has no run yet"):
        resolve(lambda _sql, _parameters: [], "sales", "latest", task)


def test_a_broker_with_an_alarm_comes_before_its_workers() -> None:
    broker = BrokerState(answers=True, alarms=("its disk is full",))
    codes = [one.code.value for one in explain_queued([worker("serving", 4)], broker).causes]
    assert codes == ["broker-alarm", "workers-full"]


def test_a_broker_that_does_not_answer_is_said_first() -> None:
    broker = BrokerState(answers=False, why="connection refused")
    first = explain_queued([worker("away")], broker).causes[0]
    assert (first.code, first.commands[0]) == ("broker-silent", "airfleet status")


def test_a_queue_without_readers_is_said_though_its_worker_is_up() -> None:
    broker = BrokerState(answers=True, consumers={"io": 0})
    first = explain_queued([worker("serving")], broker).causes[0]
    assert (first.code, first.commands[0]) == ("queue-unserved", "airfleet status")


def test_with_several_tasks_in_one_slot_pool_the_cause_is_told_once_with_their_number() -> None:
    tasks = tuple(replace(TASK, task=f"t{number}", state="scheduled") for number in range(3))
    pool = PoolFacts("slow", 2, False, 2, 0, 0, 3)
    held = SlotHolder("slow", "other", "r9", "copy", -1, "running", 2, ago(840), "w1")
    counts = (TaskCount("t0", "scheduled", 3),)
    facts = Facts(NOW, Subject("sales", "r1"), PlatformFacts(jobs=(SCHEDULER,)), DAG, RUN, counts=counts, tasks=tasks)
    explained = explain(replace(facts, pools={"slow": pool}, holders=(held,)))
    (cause,) = explained.causes
    assert (cause.code, cause.count) == ("pool-full", 3)
    text = "\n".join(explain_view.list_lines(explained))
    assert "- other copy  r9  running  for 14 min  2 slots  on w1" in text
    assert "$ airfleet explain other r9 copy" in text
    assert "3 tasks" in text


def test_lines_fit_a_narrow_terminal_but_for_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    lines = [line for line in explain_view.list_lines(explain_queued([worker("drained")])) if "$" not in line]
    assert max(map(len, lines)) <= 72


def test_the_json_has_what_its_readers_rely_on() -> None:
    body = model.to_json(explain_queued([worker("serving", 4)]))
    assert {"contract", "subject", "at", "state", "since", "blocked", "summary", "causes", "runs", "unknown"} == set(
        body
    )
    assert body["contract"] == 1
    assert body["blocked"] is True
    assert {
        *("code", "severity", "what", "since", "until", "blockers", "unnamed_blockers", "figures", "advice"),
        *("commands", "count"),
    } == set(body["causes"][0])


@pytest.mark.parametrize(
    ("text", "parsed"), [("load", ("load", None)), ("a.load[3]", ("a.load", 3)), ("x[", ("x[", None))]
)
def test_a_task_is_named_with_its_map_index(text: str, parsed: tuple[str, int | None]) -> None:
    assert parse_task(text) == parsed


def test_defaults_of_a_serialised_dag_are_airflows() -> None:
    tasks = [
        {"__type": "operator", "__var": {"task_id": "a", "downstream_task_ids": ["b"]}},
        {"__type": "operator", "__var": {"task_id": "b", "trigger_rule": "all_done", "_is_mapped": True}},
    ]
    spec = structure.read({"dag": {"tasks": tasks}, "client_defaults": {"tasks": {"retry_delay": 60.0}}})
    assert spec.tasks["b"].upstream == {"a"}
    assert spec.tasks["b"].is_mapped
    assert (spec.tasks["a"].trigger_rule, spec.tasks["a"].retry_delay_s) == ("all_success", 60.0)


def test_the_first_error_of_a_log_has_the_line_of_the_project() -> None:
    frames = [
        {"filename": "/venv/lib/site-packages/airflow/sdk/dags/runner.py", "lineno": 9},
        {"filename": "/srv/project/dags/sales.py", "lineno": 12},
        {"filename": "/venv/lib/site-packages/pandas/core.py", "lineno": 400},
    ]
    detail = [{"exc_type": "KeyError", "exc_value": "'price'\x1b[2J", "frames": frames}]
    lines = [
        "not JSON",
        json.dumps({"level": "error", "event": "a bar of progress"}),
        json.dumps({"level": "error", "event": "Task failed with exception", "error_detail": detail}),
    ]
    assert find_error(lines) == "KeyError: 'price'\\x1b[2J (dags/sales.py:12)"
    assert find_error(lines[:2]) == "a bar of progress"
    assert find_error([]) is None


def test_a_message_of_a_user_sends_no_control_sequences() -> None:
    explained = replace(explain_queued([worker("drained")]), summary="x\x1b[2Jy")
    assert "\x1b" not in "".join(explain_view.list_lines(explained))


def test_every_cause_has_a_meaning_in_the_reference() -> None:
    assert list(MEANINGS) == list(model.Code)


BREAKER = OpenBreaker("crm", "open", ago(90), NOW + timedelta(seconds=20), 0, "a probe failed", "airfleet", 60, "load")


@pytest.mark.parametrize(
    ("breaker", "severity", "said"),
    [
        (BREAKER, "waiting", "The next task may try at"),
        (replace(BREAKER, state="half-open", probe=None, wave=4), "waiting", "Now 4 tasks may run"),
        (replace(BREAKER, probe=None, actor="eve@desk", reason="maintenance"), "held", "eve@desk opened it"),
    ],
)
def test_a_breaker_is_named_as_what_keeps_a_scheduled_task(breaker: OpenBreaker, severity: str, said: str) -> None:
    task = replace(TASK, state="scheduled", scheduled_at=ago(80))
    platform = PlatformFacts(jobs=(JobFacts(1, "SchedulerJob", "host1", 1.0, ago(1)),))
    facts = Facts(
        NOW, Subject("sales", "r1", "load"), platform, dag=DAG, run=RUN, tasks=(task,), ahead=0, breakers=(breaker,)
    )
    found = [cause for cause in explain(facts).causes if cause.code is model.Code.BREAKER_OPEN]
    assert [cause.severity for cause in found] == [severity]
    assert said in found[0].what
    assert "airfleet breaker list" in found[0].commands[0]
    hidden = explain(replace(facts, breakers=(replace(breaker, reason="", actor=""),)))
    [what] = [cause.what for cause in hidden.causes if cause.code is model.Code.BREAKER_OPEN]
    assert not any(word in what for word in (breaker.reason, "opened it", ": .", ".."))
    other = replace(facts, breakers=(replace(breaker, task="send"),))
    assert all(cause.code is not model.Code.BREAKER_OPEN for cause in explain(other).causes)


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (
            FullLimit("crm", 30, None, 0, 40, 0.0, "load", 0.0, 12),
            "crm: 30 starts a minute, place 12, about 24 s.",
        ),
        (
            FullLimit("crm", 60, 5, 5, 40, 1.0, "load", 0.0, 3),
            "a minute and 5 at once, place 3. 5 tasks of it are active",
        ),
    ],
)
def test_a_limit_of_a_service_says_the_place_and_when_the_turn_comes(limit: FullLimit, said: str) -> None:
    task = replace(TASK, state="scheduled", scheduled_at=ago(80))
    platform = PlatformFacts(jobs=(JobFacts(1, "SchedulerJob", "host1", 1.0, ago(1)),))
    facts = Facts(
        NOW, Subject("sales", "r1", "load"), platform, dag=DAG, run=RUN, tasks=(task,), ahead=0, limits=(limit,)
    )
    [found] = [cause for cause in explain(facts).causes if cause.code is model.Code.SERVICE_LIMIT]
    assert said in found.what
    assert found.commands == ("airfleet limit list",)
    for other in (replace(limit, task="send"), replace(limit, place=0)):
        causes = explain(replace(facts, limits=(other,))).causes
        assert all(cause.code is not model.Code.SERVICE_LIMIT for cause in causes), "it is another's, or it may start"
