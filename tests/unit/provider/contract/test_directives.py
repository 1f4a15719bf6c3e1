"""What a Dag file says about its own loads, and what counts as a look at the clock: one rule for both halves."""

from __future__ import annotations

import pytest

from airfleet.releases.checks import schedules
from airfleet.releases.checks.source import SourceFile
from airfleet_provider.contract import directives, python_source
from airfleet_provider.releases import import_graph
from airfleet_provider.task_runtime import fork_safety

CLOCKS = [
    *("pendulum.now()", "datetime.utcnow()", "pendulum.today()", "pendulum.yesterday()", "pendulum.tomorrow()"),
    *("days_ago(1)", "time.time()", "time.localtime()", "time.strftime('%Y')", "strftime('%Y')"),
]
CONSTANTS = ["time(9, 30)", "datetime(2026, 1, 1)", "MONDAY.strftime('%Y')", "time.strftime('%Y', MONDAY)"]


@pytest.mark.parametrize(
    ("code", "seconds"),
    [
        ("AIRFLEET_REPARSE_EVERY = 300", 300),
        ("import a\nAIRFLEET_REPARSE_EVERY: int = 5", 5),
        ("AIRFLEET_REPARSE_EVERY = '300'", None),
        ("AIRFLEET_REPARSE_EVERY = 0", None),
        ("AIRFLEET_REPARSE_EVERY = True", None),
        ("if x:\n    AIRFLEET_REPARSE_EVERY = 300", None),
        ("# AIRFLEET_REPARSE_EVERY = 300", None),
        ("AIRFLEET_REPARSE_EVERY = = 300", None),
    ],
)
def test_only_a_line_of_its_own_sets_a_clock(code: str, seconds: int | None) -> None:
    assert directives.read_interval(code.encode()) == seconds


@pytest.mark.parametrize("line", ["AIRFLEET_WARM_START = False", "AIRFLEET_WARM_START: bool = False"])
def test_a_file_keeps_its_loads_apart_however_it_writes_that(line: str) -> None:
    assert "AIRFLEET_WARM_START" in (fork_safety.find_objection(line) or "")


@pytest.mark.parametrize("line", ["AIRFLEET_REPARSE_EVERY = 60", "AIRFLEET_REPARSE_EVERY: int = 60"])
def test_a_file_that_moves_on_a_clock_is_loaded_for_each_task(line: str) -> None:
    assert "AIRFLEET_REPARSE_EVERY" in (fork_safety.find_objection(line) or "")


@pytest.mark.parametrize(("calls", "moves"), [(CLOCKS, True), (CONSTANTS, False)])
def test_a_release_check_and_a_warm_process_call_the_same_things_clocks(calls: list[str], moves: bool) -> None:
    for call in calls:
        source = SourceFile("dags/x.py", f"dag = DAG('x', start_date={call})")
        assert bool(list(schedules._moving_starts(source))) == moves, call
        assert bool(fork_safety.find_objection(source.text)) == moves, call


DEEP = {
    "sum": "a = 1" + " + 1" * 50_000,
    "signs": "a = " + "-" * 100_000 + "1",
    "branches": "if 1:\n pass\n" + "elif 1:\n pass\n" * 5_000,
    "NUL": "a = 1\0",
}


@pytest.mark.parametrize("source", DEEP.values(), ids=DEEP)
def test_a_file_that_python_cannot_read_has_no_tree_and_stops_nobody(source: str) -> None:
    assert python_source.parse(source) is None
    assert python_source.parse(source.encode()) is None
    content = f"{directives.REPARSE_EVERY} = 5\n{source}".encode()
    assert directives.read_interval(content) is None
    assert not import_graph.read_imports("dags/a.py", {"dags/a.py": content}).paths
    assert fork_safety.find_objection(source) == "it does not load"
    assert SourceFile("dags/a.py", source).calls == ()


def test_a_file_that_python_can_just_read_is_not_shared() -> None:
    deep = "a = 1" + " + 1" * 1200
    assert python_source.parse(deep) is not None
    assert fork_safety.find_objection(deep) == "it is nested too deeply to be searched"
