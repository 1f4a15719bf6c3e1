"""A task that is forked from a warm process behaves like one that Airflow itself starts."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from deadline import PATIENCE_S, wait_until
from fleets import Platform, end_everything
from living import read_title, send

pytestmark = pytest.mark.local

SUPPORT = Path(__file__).parents[1] / "support"
FLEET = """\
name: tasks
parallelism: 8
ports: {{api: {port}}}
variables: {{task_password: correct-horse-battery}}
"""
HELD = """
import os, time
from pathlib import Path
from airflow.sdk import dag, task

HERE = Path(os.environ["AIRFLEET_PROJECT"])

@dag(schedule=None, catchup=False, is_paused_upon_creation=False)
def held():
    @task(retries=0)
    def work():
        draft = HERE / "draft"
        draft.write_text(f"{os.getpid()} {os.getppid()}")
        draft.rename(HERE / "running")
        while not (HERE / "go").exists():
            time.sleep(0.05)
    work()

held()

@dag(schedule=None, catchup=False, is_paused_upon_creation=False)
def versions():
    @task
    def work():
        from_file = "first"
        (HERE / "version").write_text(from_file)
    work()

versions()
"""


ASKS = """
from datetime import date
TODAY = date.today()
from airflow.sdk import dag, task

@dag(schedule=None, catchup=False, is_paused_upon_creation=False)
def held_apart():
    @task
    def work(): ...
    work()

held_apart()
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform whose Dags do everything that a task may do."""
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="airfleet-test-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        platform = Platform.create(Path(folder) / "tasks")
        (platform.project / "dags" / "work.py").unlink()
        shutil.copy(SUPPORT / "task_semantics.py", platform.project / "dags")
        (platform.project / "dags" / "held.py").write_text(HELD)
        (platform.project / "fleet.yaml").write_text(FLEET.format(port=platform.port))
        platform.up()
        try:
            yield platform
        finally:
            platform.airfleet("down", "--now", check=False)
            end_everything(platform)


def list_instances(platform: Platform, dag: str, run: str) -> list[dict[str, Any]]:
    return platform.call("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances?limit=200")["task_instances"]


def find_state(platform: Platform, dag: str, run: str, task: str) -> str | None:
    return platform.call("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances/{task}")["state"]


def read_log(platform: Platform, dag: str, run: str, task: str) -> list[str]:
    """Return the lines of a task's log without the parts that differ between two starts."""
    answer = platform.call("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances/{task}/logs/1?full_content=true")
    events = [line["event"] for line in answer["content"]]
    first = events.index("::group::Pre Execute")
    # Lines of stdout and of the log come through two channels, in any order.
    known = {"warm": "KIND", "cold": "KIND", run: "RUN"}
    lines = []
    for event in events[first:]:
        if re.search("^Done. Returned value|^The `airflow.* is deprecated", event):
            continue  # tells of its parent; what Airflow's own operators import is imported before the fork
        for word, name in known.items():
            event = event.replace(word, name)  # noqa: PLW2901 - step by step
        lines.append(re.sub(r"0x[0-9a-f]+|\d+", "N", event))
    return lines


def end_from_outside(platform: Platform, dag: str, run: str) -> None:
    wait_until(
        lambda: find_state(platform, dag, run, "ended_from_outside") == "running",
        "the endless task",
        seen=lambda: platform.list_tasks(dag, run),
    )
    path = f"/dags/{dag}/dagRuns/{run}/taskInstances/ended_from_outside"
    platform.call("PATCH", path, json={"new_state": "failed"})


@pytest.fixture(scope="module")
def runs(tasks: Platform) -> dict[str, str]:
    """One finished run of each Dag of task_semantics.py, with warm starts and with cold starts."""
    started = {dag: tasks.trigger(dag) for dag in ("semantics_warm", "semantics_cold")}
    for dag, run in started.items():
        end_from_outside(tasks, dag, run)
    for dag, run in started.items():
        tasks.wait_run(dag, run)
    return started


def test_what_attempts_used_is_recorded(tasks: Platform, runs: dict[str, str]) -> None:
    def list_usage() -> list[dict[str, Any]]:
        shown = tasks.airfleet("usage", "--dag", "semantics_warm", "--run-times", "--json").stdout
        found: list[dict[str, Any]] = json.loads(shown)["tasks"]
        return found

    def is_recorded() -> bool:
        # A report that a busy API does not answer in time is given up, so a few may be missing.
        found = list_usage()
        return sum(one["recorded"] for one in found) >= 0.8 * sum(one["attempts"] for one in found) > 0

    wait_until(is_recorded, "the records of the attempts", every_s=0.5, seen=list_usage)
    found = list_usage()
    assert all(one["recorded"] <= one["attempts"] for one in found)
    assert any(one["memory"] and one["memory"]["p50"] > 1 << 20 for one in found)
    assert any(one["signals"] for one in found), "a task that a signal ended has a record too"


def test_every_task_ends_as_in_stock_airflow(tasks: Platform, runs: dict[str, str]) -> None:
    warm, cold = (
        {(one["task_id"], one["map_index"]): (one["state"], one["try_number"]) for one in list_instances(tasks, *run)}
        for run in runs.items()
    )
    assert warm == cold
    assert {state for state, _ in warm.values()} == {"success", "failed", "skipped", "upstream_failed"}


def test_every_task_shows_its_rendered_fields_as_in_stock_airflow(tasks: Platform, runs: dict[str, str]) -> None:
    # The run has ended, and fields are stored before the end of a task, also of one that was killed.
    shown = [
        {
            (one["task_id"], one["map_index"]): _name_alike(one["rendered_fields"], run)
            for one in list_instances(tasks, dag, run)
        }
        for dag, run in runs.items()
    ]
    assert shown[0] == shown[1]
    assert shown[0]["is_killed_for_good", -1]


def _name_alike(fields: dict[str, Any], run: str) -> str:
    return re.sub(r"0x[0-9a-f]+|\d+", "N", re.sub("warm|cold", "KIND", json.dumps(fields).replace(run, "RUN")))


def test_callbacks_retries_and_pokes_happen_as_often(tasks: Platform, runs: dict[str, str]) -> None:
    def read(kind: str) -> list[str]:
        path = tasks.project / f"notes-{kind}"
        return sorted(path.read_text().splitlines()) if path.exists() else []

    # A task calls its callbacks after it has told the API how it ended.
    with contextlib.suppress(AssertionError):  # the last line shows how they differ
        wait_until(lambda: read("warm") == read("cold") != [], "the same notes")
    assert read("warm") == read("cold") != []


def test_what_is_killed_is_told(tasks: Platform, runs: dict[str, str]) -> None:
    for kind in ("warm", "cold"):
        for task in ("timed_out", "ended_from_outside"):
            path = tasks.project / f"killed-{task}-{kind}"
            wait_until(path.exists, f"on_kill of {task}, {kind}")


def test_a_task_finds_its_process_as_in_stock_airflow(tasks: Platform, runs: dict[str, str]) -> None:
    warm, cold = (
        tasks.call("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances/tells/xcomEntries/return_value")["value"]
        for dag, run in runs.items()
    )
    warm, cold = (eval(one) if isinstance(one, str) else one for one in (warm, cold))  # noqa: S307 - our own Dag's
    assert "airfleet warm dags/task_semantics.py" in warm.pop("parent")
    assert "airflow worker" in cold.pop("parent")
    assert warm.pop("descriptors") <= cold.pop("descriptors")
    # A warm task has the session of the zygote pool, which is a fork of the task image (ADR 108).
    assert warm.pop("session") != cold.pop("session")
    assert warm == cold


@pytest.mark.parametrize("task", ["tells", "fails", "bash", "exits_at_once", "is_killed_for_good", "takes_too_long"])
def test_the_log_says_the_same_as_in_stock_airflow(tasks: Platform, runs: dict[str, str], task: str) -> None:
    def read() -> list[list[str]]:
        return [sorted(read_log(tasks, dag, run, task)) for dag, run in runs.items()]

    # The last lines are written after the task has told the API how it ended.
    with contextlib.suppress(AssertionError):  # the next lines show how they differ
        wait_until(lambda: (both := read())[0] == both[1], "the same log", every_s=0.5)
    warm, cold = read()
    assert warm == cold
    assert not any("correct-horse" in line for line in warm)


CRASHES = {
    "crashes": ("SIGSEGV", "crashes"),
    "reads_nowhere": ("SIGSEGV", "string_at"),
    "gives_up_at_once": ("SIGABRT", "gives_up_at_once"),
    "executes_nonsense": ("SIGILL", "executes_nonsense"),
}


@pytest.mark.parametrize("task", CRASHES)
def test_a_task_that_crashes_fails_and_says_where(tasks: Platform, runs: dict[str, str], task: str) -> None:
    number, function = CRASHES[task]
    for dag, run in runs.items():
        one = tasks.call("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances/{task}")
        assert (one["state"], one["try_number"]) == ("failed", 2 if task == "reads_nowhere" else 1)
        path = f"/dags/{dag}/dagRuns/{run}/taskInstances/{task}/logs/1?full_content=true"
        said = [line["event"] for line in tasks.call("GET", path)["content"]]
        assert any(line.startswith(f"Killed by {number} in {function} (") for line in said), said
        assert any(line.startswith('  File "') and f" in {task}" in line for line in said), said


def find(platform: Platform, title: str) -> list[psutil.Process]:
    return [process for process in platform.processes() if read_title(process).startswith(title)]


@contextlib.contextmanager
def hold(platform: Platform) -> Iterator[tuple[str, psutil.Process, psutil.Process]]:
    """Run a task until the end of the block; yield the run, the task's process and the warm process."""
    for name in ("go", "running"):
        (platform.project / name).unlink(missing_ok=True)
    run = platform.trigger("held")
    wait_until((platform.project / "running").exists, "the held task")
    task, warm = (psutil.Process(int(pid)) for pid in (platform.project / "running").read_text().split())
    try:
        yield run, task, warm
    finally:
        (platform.project / "go").touch()


def test_a_task_that_runs_shows_its_rendered_fields(tasks: Platform) -> None:
    with hold(tasks) as (run, _, _):
        wait_until(
            lambda: any(one["rendered_fields"] for one in list_instances(tasks, "held", run)),
            "the rendered fields",
            seen=lambda: list_instances(tasks, "held", run),
        )
        assert find_state(tasks, "held", run, "work") == "running"
    assert tasks.wait_run("held", run) == "success"


@pytest.mark.parametrize("title", ["airfleet warm dags/held.py", "airfleet zygote pool", "airfleet guard"])
def test_a_task_outlives_what_it_was_forked_from(tasks: Platform, title: str) -> None:
    with hold(tasks) as (run, task, warm):
        assert warm in find(tasks, "airfleet warm dags/held.py")
        send(find(tasks, title), signal.SIGKILL)
        assert task.is_running()
        assert tasks.succeeds("versions")
    assert tasks.wait_run("held", run) == "success"
    assert tasks.succeeds("held")


def read_starts(platform: Platform) -> dict[str, Any]:
    return dict(platform.status()["paths"]["task-start"])


def test_status_says_how_many_tasks_started_cold_and_why(tasks: Platform) -> None:
    before = read_starts(tasks)
    (tasks.project / "dags" / "asks.py").write_text(ASKS)
    assert tasks.succeeds("held_apart")
    assert tasks.succeeds("versions")
    after = read_starts(tasks)
    assert (after["fast"] - before["fast"], after["slow"] - before["slow"]) == (1, 1)
    reasons = {one["reason"]: one["expected"] for one in after["reasons"]}
    assert reasons["dags/asks.py: asks.py, line 3: today() while loading"] is False


def test_a_guard_that_is_killed_with_its_pool_is_started_again(tasks: Platform) -> None:
    guards = find(tasks, "airfleet guard")
    send([*guards, *find(tasks, "airfleet zygote pool")], signal.SIGKILL)
    before = read_starts(tasks)
    assert tasks.succeeds("versions")
    after = read_starts(tasks)
    assert (after["fast"] - before["fast"], after["slow"] - before["slow"]) == (1, 0)
    assert find(tasks, "airfleet guard") not in ([], guards)


def test_a_task_that_is_killed_while_its_warm_process_is_dead_fails(tasks: Platform) -> None:
    with hold(tasks) as (run, task, warm):
        warm.kill()
        task.kill()
        assert tasks.wait_run("held", run) == "failed"


def test_a_task_whose_supervisor_is_killed_ends_too(tasks: Platform) -> None:
    with hold(tasks) as (_, task, _):
        supervisors = [one for one in find(tasks, "airflow worker -- LocalExecutor") if "idle" not in read_title(one)]
        send(supervisors, signal.SIGKILL)
        task.wait(timeout=PATIENCE_S)
    assert tasks.succeeds("versions")


def test_a_changed_file_is_loaded_again(tasks: Platform) -> None:
    assert tasks.succeeds("versions")
    assert (tasks.project / "version").read_text() == "first"
    path = tasks.project / "dags" / "held.py"
    path.write_text(path.read_text().replace('"first"', '"second"'))
    assert tasks.succeeds("versions")
    assert (tasks.project / "version").read_text() == "second"


def test_nothing_is_left_behind(tasks: Platform) -> None:
    def is_quiet() -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):  # one that ends while it is looked at
            zombies = [one for one in tasks.processes() if one.status() == psutil.STATUS_ZOMBIE]
            return not zombies and not find(tasks, "airflow worker -- 0")
        return False

    wait_until(is_quiet, "no task and no zombie", every_s=0.5, seen=lambda: list(map(read_title, tasks.processes())))
    # A pool that another relieves ends in a moment.
    (pool,) = wait_until(
        lambda: len(found := find(tasks, "airfleet zygote pool")) == 1 and found, "one pool", every_s=0.5
    )
    assert pool.num_fds() < 20 + len(find(tasks, "airfleet warm"))
    for warm in find(tasks, "airfleet warm"):
        with contextlib.suppress(psutil.NoSuchProcess):  # one that nobody needs any more may end
            assert warm.num_fds() < 20, warm.num_fds()
