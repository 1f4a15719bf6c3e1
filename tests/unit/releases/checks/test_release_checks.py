"""Each check catches one thing, at its line, and lets a clean release pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from airfleet.releases.checks import registry
from airfleet.releases.checks.inputs import Access, CheckInputs, FailedTest, Inventory, OutdatedCode, ProjectTests
from airfleet.releases.checks.serialised import ParsedDag
from airfleet.spec.fleet import CHECK_LEVELS, FIXED_CHECKS, Checks
from airfleet_provider.contract.sla_rules import PromiseKind, SlaRule
from small_releases import PATH, STRICT, add_file, catch, make_dag, make_facts, sample_facts

FRAME = '  File "/srv/project/dags/sales.py", line {}, in <module>\n'
TRACEBACK = "Traceback (most recent call last):\n" + FRAME
CYCLE = "AirflowDagCycleException: Cycle detected in Dag: sales. Faulty task: load"
BROKEN = OutdatedCode(PATH, 3, "AIR301", "`schedule_interval` is removed", "Use `schedule` instead", is_broken=True)


class Case(NamedTuple):
    check: str
    facts: Callable[[], CheckInputs]
    line: int
    says: str
    clean: Callable[[], CheckInputs]


def source(text: str) -> Callable[[], CheckInputs]:
    return lambda: make_facts(text, make_dag())


DAG = 'import os\n\nwith DAG("sales"):\n    Bash(task_id="load")\n'
CASES = [
    Case(
        "import-error",
        lambda: make_facts(
            "\n\nimport pandsa\n", error=TRACEBACK.format(3) + "ModuleNotFoundError: No module named 'pandsa'"
        ),
        3,
        "No module named 'pandsa'",
        source(DAG),
    ),
    Case("cycle", lambda: make_facts(DAG, error=CYCLE), 4, "the tasks of sales wait for each other", source(DAG)),
    Case(
        "duplicate-dag-id",
        lambda: add_file(make_facts(DAG, make_dag()), "dags/z.py", "\n" + DAG, make_dag()),
        3,
        "dags/z.py:4 has a Dag with the id 'sales' too",
        lambda: add_file(make_facts(DAG, make_dag()), "dags/z.py", "", make_dag("other")),
    ),
    Case("unstable-dag", lambda: make_facts(DAG, make_dag(), unstable=("sales",)), 3, "each time", source(DAG)),
    Case(
        "import-time-access",
        lambda: make_facts(DAG, make_dag(), accesses=(Access("network", "api.example.com:443", 2),)),
        2,
        "talks to api.example.com:443",
        source(DAG),
    ),
    Case(
        "slow-import",
        lambda: make_facts(DAG, make_dag(), seconds=11.0),
        1,
        "takes 11.0 s to load, and 2 s is the budget",
        lambda: make_facts(DAG, make_dag(), seconds=1.9),
    ),
    Case(
        "missing-connection",
        source('\nfrom airflow.sdk import Connection\nConnection.get("cmr")'),
        3,
        "no connection 'cmr'",
        source('Sql(conn_id="warehouse"); Base().get("x"); Connection(conn_id="new")'),
    ),
    Case(
        "missing-variable",
        source('\nfrom airflow.sdk import Variable as V\nV.get("regoin")'),
        3,
        "no variable 'regoin'",
        source('Variable.get("region"); Variable.get("a", default=1); Variable.get("a", 1); cache.get("a")'),
    ),
    Case(
        "missing-slot-pool",
        lambda: make_facts('\n@task(pool="crn")\ndef load(): ...\n', make_dag("sales", {"pool": "crn"})),
        2,
        "no slot pool 'crn'",
        lambda: make_facts("", make_dag("sales", {"pool": "crm"}, {"pool": "default_pool"}, {})),
    ),
    Case(
        "missing-queue",
        lambda: make_facts('\n\nargs = {"queue": "gpu"}\n', make_dag("sales", {"queue": "gpu"})),
        3,
        "no worker serves the queue 'gpu'",
        lambda: make_facts("", make_dag("sales", {"queue": "memory"}, {"queue": "default"}, {})),
    ),
    Case(
        "airflow-2-code",
        lambda: replace(make_facts(DAG), migrations=(BROKEN,)),
        3,
        "`schedule_interval` is removed",
        source(DAG),
    ),
    Case(
        "project-tests",
        lambda: replace(
            make_facts(DAG), tests=ProjectTests(2, (FailedTest("tests/test_x.py", 7, "test_x", "1 != 2"),))
        ),
        7,
        "the test test_x fails: 1 != 2",
        lambda: replace(make_facts(DAG), tests=ProjectTests(2)),
    ),
    Case(
        "owner",
        lambda: make_facts(DAG, make_dag("sales", {"owner": "airflow"})),
        3,
        "sales has no owner",
        source(DAG),
    ),
    Case("tags", lambda: make_facts(DAG, make_dag("sales", tags=[])), 3, "sales has no tags", source(DAG)),
    Case("description", lambda: make_facts(DAG, make_dag("sales", doc_md="")), 3, "no description", source(DAG)),
    Case(
        "retries",
        lambda: make_facts(DAG, make_dag("sales", {"retries": 0})),
        4,
        "the task load of sales is not tried again",
        lambda: make_facts(DAG, make_dag("sales", {"retries": 0, "task_type": "EmptyOperator"}, {})),
    ),
    Case(
        "execution-timeout",
        lambda: make_facts(DAG, make_dag("sales", {"execution_timeout": None})),
        4,
        "without an execution_timeout",
        source(DAG),
    ),
    Case(
        "naming",
        lambda: make_facts('\nDAG(dag_id="My-Dag")', make_dag("My-Dag")),
        2,
        "'My-Dag' does not fit",
        source(DAG),
    ),
    Case("catchup", sample_facts, 13, "more than 100 runs since 2020-01-01", source(DAG)),
    Case(
        "schedule",
        source("\nDAG('sales', start_date=datetime.now())"),
        2,
        "the start_date moves with now()",
        source("DAG('sales', start_date=datetime(2026, 1, 1))"),
    ),
    Case(
        "unmatched-sla",
        lambda: replace(make_facts(DAG, make_dag()), slas=((SlaRule("late", PromiseKind.MUST_RUN, dag="slaes"), 7),)),
        7,
        "the SLA late matches no Dag",
        lambda: replace(make_facts(DAG, make_dag()), slas=((SlaRule("late", PromiseKind.MUST_RUN, dag="sal.*"), 7),)),
    ),
    Case(
        "unknown-ignore",
        source("\nx = 1  # airfleet: ignore[retires]\n"),
        2,
        "there is no check 'retires'",
        source("x = 1  # airfleet: ignore[retries, owner]\n"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.check)
def test_a_check_catches_its_example(case: Case) -> None:
    found = catch(case.facts(), case.check)[0]
    assert (found.line, found.level) == (case.line, "error")
    assert case.says in found.what
    assert found.hint


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.check)
def test_a_check_lets_a_clean_release_pass(case: Case) -> None:
    assert catch(case.clean(), case.check) == []


def test_every_check_has_a_case_and_a_level() -> None:
    assert {case.check for case in CASES} == set(registry.CHECKS)
    assert set(registry.CHECKS) == set(CHECK_LEVELS) | FIXED_CHECKS


def test_what_airflow_serialises_is_understood() -> None:
    found = registry.run(sample_facts())
    assert not [one for one in found if one.path == "dags/good.py"]
    said = {(one.check, one.line, one.task_id) for one in found if one.path == "dags/bad.py"}
    assert said >= {
        ("missing-connection", 18, None),
        ("missing-variable", 21, "load_north"),
        ("missing-slot-pool", 27, "group.mapped"),
        ("missing-connection", 28, None),
        ("missing-queue", 30, "group.train"),
        ("retries", 25, "group.mapped"),
        ("retries", 21, "load_south"),
        ("schedule", 11, None),
        ("naming", 9, None),
    }
    assert not [one for one in found if one.check == "retries" and one.task_id == "group.train"]
    schedules = [one.what for one in found if one.path == "dags/often.py" and one.check == "schedule"]
    assert schedules == [
        "seconds runs every 30 s",
        "the schedule '0 0 30 2 *' of never never comes",
        "over never runs again: its end_date is 2025-01-01",
    ]


def test_findings_are_sorted_and_said_once() -> None:
    found = registry.run(sample_facts())
    assert list(found) == sorted(found, key=lambda one: one.order)
    assert len(set(found)) == len(found)


def test_nothing_is_missing_where_nobody_could_ask() -> None:
    facts = replace(sample_facts(), inventory=Inventory())
    assert not [one for one in registry.run(facts) if one.check.startswith("missing")]


@pytest.mark.parametrize(("level", "expected"), [("off", []), ("warning", ["warning"]), ("error", ["error"])])
def test_a_level_of_fleet_yaml_is_the_level_of_its_findings(level: str, expected: list[str]) -> None:
    rules = Checks(levels={**CHECK_LEVELS, "tags": level})  # type: ignore[dict-item]
    assert [one.level for one in catch(make_facts(DAG, make_dag(tags=[]), rules=rules), "tags")] == expected


def test_what_is_minor_stays_a_warning() -> None:
    renamed = replace(BROKEN, is_broken=False)
    facts = replace(make_facts(DAG, seconds=3.0), migrations=(renamed,))
    assert [(one.check, one.level) for one in registry.run(facts)] == [
        ("slow-import", "warning"),
        ("airflow-2-code", "warning"),
    ]


def test_without_ruff_there_is_one_warning() -> None:
    (found,) = registry.run(replace(make_facts(DAG), migrations=None))
    assert (found.check, found.level) == ("airflow-2-code", "warning")


def test_tests_that_cannot_run_are_an_error() -> None:
    (found,) = registry.run(replace(make_facts(DAG), tests=ProjectTests(problem="no pytest")))
    assert (found.check, found.level) == ("project-tests", "error")


def test_a_budget_and_a_pattern_come_from_the_rules() -> None:
    rules = replace(STRICT, parse_seconds=20.0, dag_id_pattern="[A-Z]+")
    facts = make_facts(DAG, make_dag(), rules=rules, seconds=11.0)
    assert not catch(facts, "slow-import")
    assert catch(facts, "naming")


def test_many_tasks_without_retries_are_one_finding() -> None:
    bare = [{"task_id": name, "retries": 0} for name in "abc"]
    (found,) = catch(make_facts(DAG, make_dag("sales", *bare)), "retries")
    assert (found.line, found.what) == (3, "all 3 tasks of sales are not tried again")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("* * * * *", "sales runs every minute: 1440 runs a day"),
        ("*/1 0-23 * * mon", "sales runs every minute: 1440 runs a day"),
        ("*/15 9-17 * * mon-fri", None),
        ("0 0 30 2 *", "the schedule '0 0 30 2 *' of sales never comes"),
        ("0 0 31 4,6 *", "the schedule '0 0 31 4,6 *' of sales never comes"),
        ("0 0 31 4,5 *", None),
        ("0 0 29 feb *", None),
        ("0 0 30 2 mon", None),
        ("0 0 L * *", None),
        ("0 0 * * 1#2", None),
        ("0 9 * * mon 0 2020", "the schedule '0 9 * * mon 0 2020' of sales never comes"),
        ("* * * * * */20", "sales runs 3 times a minute: 4320 runs a day"),
        # What croniter refuses, Airflow refuses too: such a file does not load.
        ("", None),
        ("* * * *", None),
        ("99 * * * *", None),
        ("*/0 * * * *", None),
    ],
)
def test_a_cron_line_that_never_comes_or_always(line: str, said: str | None) -> None:
    assert [one.what for one in catch(make_facts(DAG, make_scheduled(line)), "schedule")] == ([said] if said else [])


@pytest.mark.parametrize(
    ("line", "start", "end", "is_flood"),
    [
        ("0 6,18 * * sun", datetime(2026, 1, 4, tzinfo=UTC), datetime(2026, 1, 19, tzinfo=UTC), True),  # 6 runs
        ("0 6,18 * * sun", datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 1, 19, tzinfo=UTC), False),  # 4 runs
        ("0 0 1 * mon", datetime(2026, 5, 1, tzinfo=UTC), None, True),  # either is enough: 5 runs
        ("0 0 1 * *", datetime(2026, 2, 1, tzinfo=UTC), None, False),
        ("* * * * *", datetime(1990, 1, 1, tzinfo=UTC), None, True),
        ("0 0 30 2 *", datetime(1990, 1, 1, tzinfo=UTC), None, False),
    ],
)
def test_catching_up_on_a_cron_line(line: str, start: datetime, end: datetime | None, is_flood: bool) -> None:
    own = {"catchup": True, "start_date": start.timestamp(), **({"end_date": end.timestamp()} if end else {})}
    facts = make_facts(DAG, make_scheduled(line, **own), rules=replace(STRICT, catchup_runs=4))
    assert bool(catch(facts, "catchup")) is is_flood


def make_scheduled(line: str, **own: Any) -> ParsedDag:  # noqa: ANN401  (JSON)
    timetable = {"__type": "airflow.timetables.trigger.CronTriggerTimetable", "__var": {"expression": line}}
    return make_dag(timetable=timetable, **own)
