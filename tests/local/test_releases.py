"""Releases on a real platform, used through the command line as a team does."""

from __future__ import annotations

import concurrent.futures
import json
import re
from pathlib import Path

import pytest

from airfleet_provider.contract import release_archive
from deadline import wait_until
from fleets import Platform

pytestmark = pytest.mark.local

DAG = """
import pendulum
from airflow.sdk import dag, task

from include.words import WORD


@dag(
    dag_id="greet",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1),
    description=WORD,
    tags=["test"],
    default_args={"owner": "ann", "retries": 1},
    is_paused_upon_creation=False,
)
def greet():
    @task
    def first():
        return WORD

    @task
    def second(before):
        return [before, WORD, __file__]

    second(first())


greet()
"""


@pytest.fixture(scope="module")
def fleet(releases: Platform) -> Platform:
    (releases.project / "fleet.yaml").write_text(
        f"name: releases\ndags: releases\nports: {{api: {releases.port}}}\n"
        "releases: {watch_seconds: 3, min_task_ends: 2}\n"
    )
    write(releases.project, "hello")
    return releases


def write(project: Path, word: str, dag: str = DAG) -> None:
    (project / "include").mkdir(exist_ok=True)
    (project / "include" / "__init__.py").touch()
    (project / "include" / "words.py").write_text(f'WORD = "{word}"\n')
    (project / "dags" / "greet.py").write_text(dag)


def set_watch(fleet: Platform, seconds: int) -> None:
    path = fleet.project / "fleet.yaml"
    path.write_text(re.sub(r"watch_seconds: \d+", f"watch_seconds: {seconds}", path.read_text()))


def deploy(fleet: Platform, word: str) -> str:
    write(fleet.project, word)
    return fleet.airfleet("release", "deploy", "-m", word).stdout.strip()


def describe(fleet: Platform) -> str:
    return fleet.call("GET", "/dags/greet")["description"]


def read_words(fleet: Platform, run: str) -> list[str]:
    value = fleet.call("GET", f"/dags/greet/dagRuns/{run}/taskInstances/second/xcomEntries/return_value")["value"]
    return json.loads(value) if isinstance(value, str) else value


def test_a_deploy_is_live_and_its_runs_say_so(fleet: Platform) -> None:
    release = deploy(fleet, "one")
    assert describe(fleet) == "one"
    run = fleet.trigger("greet")
    assert fleet.wait_run("greet", run) == "success"
    assert fleet.call("GET", f"/dags/greet/dagRuns/{run}")["bundle_version"] == release
    first, second, file = read_words(fleet, run)
    assert (first, second) == ("one", "one")
    assert release in file
    assert deploy(fleet, "one") == release


def test_a_rollback_is_for_new_runs_and_back_again(fleet: Platform) -> None:
    old = deploy(fleet, "before")
    new = deploy(fleet, "after")
    assert fleet.airfleet("release", "rollback").stdout.strip() == old
    assert describe(fleet) == "before"
    assert fleet.airfleet("release", "promote", new[:8]).stdout.strip() == new
    assert describe(fleet) == "after"
    listed = json.loads(fleet.airfleet("release", "list", "--json").stdout)
    assert [one["id"] for one in listed if one["live"]] == [new]


def test_a_run_in_flight_finishes_on_the_release_it_began_with(fleet: Platform) -> None:
    old = deploy(fleet, "mine")
    run = fleet.trigger("greet")
    new = deploy(fleet, "theirs")
    assert fleet.wait_run("greet", run) == "success"
    first, second, file = read_words(fleet, run)
    assert (first, second) == ("mine", "mine")
    assert old in file
    assert new != old


def test_a_release_that_does_not_load_never_goes_live(fleet: Platform) -> None:
    live = deploy(fleet, "good")
    write(fleet.project, "bad", DAG.replace("def greet():", "def greet(:"))
    refused = fleet.airfleet("release", "deploy", check=False)
    assert refused.returncode == 1
    assert "dags/greet.py" in refused.stderr
    assert "error[import-error]" in refused.stderr
    assert "Traceback" not in refused.stderr
    unchecked = fleet.airfleet("release", "deploy", "--no-check", check=False)
    assert unchecked.returncode == 1
    assert "dags/greet.py" in unchecked.stderr
    assert describe(fleet) == "good"
    assert json.loads(fleet.airfleet("release", "show").stdout)["live"]["id"] == live


def test_a_check_names_what_the_platform_lacks(fleet: Platform) -> None:
    write(fleet.project, "check", DAG.replace("@task\n    def first", '@task(pool="nowhere")\n    def first'))
    found = fleet.airfleet("release", "check", "--format", "json", check=False)
    assert found.returncode == 1
    findings = json.loads(found.stdout)
    listed = findings["findings"] if isinstance(findings, dict) else findings
    assert [one["check"] for one in listed if one["level"] == "error"] == ["missing-slot-pool"]


def test_a_diff_names_the_files(fleet: Platform) -> None:
    deploy(fleet, "same")
    assert fleet.airfleet("release", "diff").stdout == ""
    write(fleet.project, "other")
    assert fleet.airfleet("release", "diff").stdout == "~ include/words.py\n"


def read_beat(fleet: Platform) -> str:
    """Return the time of the Dag processor's last heartbeat."""
    return str(fleet.call("GET", "/monitor/health")["dag_processor"]["latest_dag_processor_heartbeat"])


def test_a_steady_platform_parses_nothing(fleet: Platform) -> None:
    deploy(fleet, "still")
    log = fleet.state.logs / "dag_processor"
    before = fleet.call("GET", "/dags/greet")["last_parsed_time"]
    for _ in range(3):  # it beats at most every 5 s, in a turn of its loop, and looks at files as often
        seen = read_beat(fleet)
        wait_until(lambda: read_beat(fleet) != seen, "a turn of the Dag processor", every_s=0.5)  # noqa: B023 - awaited here
    assert fleet.call("GET", "/dags/greet")["last_parsed_time"] == before
    assert not list(log.rglob("greet.py.log"))


def test_two_deploys_at_once_both_end_and_the_later_one_is_live(fleet: Platform) -> None:
    first, second = deploy(fleet, "left"), deploy(fleet, "right")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        ended = list(pool.map(lambda one: fleet.airfleet("release", "promote", one), (first, second)))
    assert [one.returncode for one in ended] == [0, 0]
    live = json.loads(fleet.airfleet("release", "show").stdout)["live"]["id"]
    assert live in (first, second)
    assert describe(fleet) == ("left" if live == first else "right")


def test_a_deploy_is_watched_and_its_verdict_is_told_everywhere(fleet: Platform) -> None:
    deploy(fleet, "calm")
    # Longer than this machine may take for the command that looks at it.
    set_watch(fleet, 600)
    write(fleet.project, "watched")
    said = fleet.airfleet("release", "deploy")
    assert "watching the release for 600 s" in said.stderr
    release = said.stdout.strip()
    now = fleet.live()
    assert (now["id"], now["state"]) == (release, "watching")
    set_watch(fleet, 3)
    write(fleet.project, "waited")
    said = fleet.airfleet("release", "deploy", "--watch")
    release, verdict = said.stdout.strip(), "the release stays: in 3 s no task ended"
    assert verdict in said.stderr
    now = fleet.live()
    assert (now["id"], now["state"], now["verdict"]) == (release, "live", verdict)
    assert json.loads(fleet.airfleet("release", "show").stdout)["deployments"][0]["verdict"] == verdict
    assert json.loads(fleet.airfleet("release", "list", "--json").stdout)[0]["verdict"] == verdict
    assert verdict in fleet.airfleet("status", check=False).stdout


def test_a_release_whose_tasks_fail_goes_back_by_itself(fleet: Platform) -> None:
    good = deploy(fleet, "fine")
    for _ in range(2):
        assert fleet.wait_run("greet", fleet.trigger("greet")) == "success"
    broken = DAG.replace("return WORD", "raise ValueError(WORD)").replace('"retries": 1', '"retries": 0')
    write(fleet.project, "worse", broken)
    set_watch(fleet, 600)
    bad = fleet.airfleet("release", "deploy").stdout.strip()
    for _ in range(2):
        fleet.trigger("greet")
    wait_until(lambda: fleet.live().get("id") == good, "the way back", every_s=1, seen=fleet.live)
    status = fleet.live()
    assert status["verdict"].startswith(f"back to {release_archive.shorten(good)}: 2 of 2 task attempts failed")
    assert status["by"] == "airfleet"
    listed = {one["id"]: one for one in json.loads(fleet.airfleet("release", "list", "--json").stdout)}
    assert (listed[bad]["state"], listed[bad]["verdict"]) == ("failed", status["verdict"])
    assert fleet.wait_run("greet", fleet.trigger("greet")) == "success"


def test_a_dag_that_moves_while_it_runs_is_found_where_its_release_has_it(fleet: Platform) -> None:
    held = DAG.replace("import pendulum", "import os, time\nfrom pathlib import Path\n\nimport pendulum").replace(
        "        return WORD\n",
        "        while (Path(os.environ['AIRFLEET_PROJECT']) / 'hold').exists():\n"
        "            time.sleep(0.2)\n"
        "        return WORD\n",
    )
    write(fleet.project, "stayed", held)
    old = fleet.airfleet("release", "deploy").stdout.strip()
    (fleet.project / "hold").touch()
    run = fleet.trigger("greet")
    wait_until(lambda: fleet.run_state("greet", run) == "running", "the run")
    write(fleet.project, "moved")
    (fleet.project / "dags" / "deep" / "down").mkdir(parents=True)
    (fleet.project / "dags" / "greet.py").rename(fleet.project / "dags" / "deep" / "down" / "hello.py")
    new = fleet.airfleet("release", "deploy").stdout.strip()
    (fleet.project / "hold").unlink()
    assert fleet.wait_run("greet", run) == "success"
    first, second, file = read_words(fleet, run)
    assert (first, second) == ("stayed", "stayed")
    assert file.endswith(f"{old}/dags/greet.py")
    run = fleet.trigger("greet")
    assert fleet.wait_run("greet", run) == "success"
    assert read_words(fleet, run)[2].endswith(f"{new}/dags/deep/down/hello.py")
    (fleet.project / "dags" / "deep" / "down" / "hello.py").unlink()
