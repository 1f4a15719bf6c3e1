"""`dags: folder`: a saved file is live within a moment, errors are shown, and an unchanged folder costs no CPU."""

from __future__ import annotations

import os
import py_compile
import re
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deadline import wait_until
from fleets import Platform, make
from living import is_alive, read_title

pytestmark = pytest.mark.local

HELPERS = {"airfleet watcher", "airfleet parser"}

DAG = """
import pendulum
from airflow.sdk import dag, task

from include.words import WORD


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1), description=WORD, is_paused_upon_creation=False)
def hello():
    @task
    def say() -> str:
        return WORD

    say()


hello()
"""


@pytest.fixture(scope="module")
def fleet() -> Iterator[Platform]:
    with make("develop") as platform:
        (platform.project / "fleet.yaml").write_text(f"name: develop\nports: {{api: {platform.port}}}\n")
        (platform.project / "dags" / "work.py").unlink()
        (platform.project / "include").mkdir()
        (platform.project / "include" / "__init__.py").touch()
        platform.up()
        yield platform


@pytest.fixture
def project(fleet: Platform) -> Path:
    """The project at the start of each test: one loaded Dag with the description `one`, and nothing left to publish."""
    wanted = {"dags/hello.py": DAG, "include/__init__.py": "", "include/words.py": 'WORD = "one"\n'}
    for path in (*fleet.project.glob("dags/*"), *fleet.project.glob("include/*.py")):
        if path.is_file() and str(path.relative_to(fleet.project)) not in wanted:
            path.unlink()
    for name, text in wanted.items():
        if not (fleet.project / name).is_file() or (fleet.project / name).read_text() != text:
            (fleet.project / name).write_text(text)
    wait_until(
        lambda: (
            list_descriptions(fleet) == {"hello": "one"} and not fleet.call("GET", "/importErrors")["import_errors"]
        ),
        "the one Dag",
        seen=lambda: (list_descriptions(fleet), fleet.call("GET", "/importErrors")),
    )
    return fleet.project


def list_descriptions(fleet: Platform) -> dict[str, str | None]:
    return {dag["dag_id"]: dag["description"] for dag in fleet.call("GET", "/dags")["dags"]}


def describe(fleet: Platform, dag: str = "hello") -> str | None:
    """Return a Dag's description, or None while Airflow has no such Dag."""
    shown = fleet.call("GET", "/dags", params={"dag_id_pattern": dag})["dags"]
    return shown[0]["description"] if shown else None


def wait_description(fleet: Platform, word: str | None, dag: str = "hello") -> None:
    wait_until(
        lambda: describe(fleet, dag) == word, f"{dag} to say {word}", every_s=0.1, seen=lambda: describe(fleet, dag)
    )


def list_retired(fleet: Platform) -> list[str]:
    """Return how many Dags each publication retired. The releaser writes the line once the Dags are published."""
    return re.findall(r"published develop:.* retired (\d+)", fleet.log("releaser"))


def test_a_saved_helper_is_live_in_every_dag_that_imports_it(fleet: Platform, project: Path) -> None:
    (project / "dags" / "other.py").write_text(DAG.replace("hello", "other"))
    wait_description(fleet, "one", "other")
    (project / "include" / "words.py").write_text('WORD = "two"\n')
    wait_description(fleet, "two")
    wait_description(fleet, "two", "other")
    run = fleet.trigger("hello")
    assert fleet.wait_run("hello", run) == "success"
    said = fleet.call("GET", f"/dags/hello/dagRuns/{run}/taskInstances/say/xcomEntries/return_value")["value"]
    assert said in ("two", '"two"')


def test_a_helper_that_is_saved_twice_in_a_second_is_live_as_saved_last(fleet: Platform, project: Path) -> None:
    words, draft = project / "include" / "words.py", project / "draft.py"
    second = int(time.time()) * 10**9

    def save(word: str, at: int) -> None:
        draft.write_text(f'WORD = "{word}"\n')
        os.utime(draft, ns=(at, at))
        draft.replace(words)
        wait_description(fleet, word)

    save("two", second + 1)
    py_compile.compile(str(words))  # as pytest of the Dags does
    save("six", second + 2 * 10**6)
    run = fleet.trigger("hello")
    assert fleet.wait_run("hello", run) == "success"
    said = fleet.call("GET", f"/dags/hello/dagRuns/{run}/taskInstances/say/xcomEntries/return_value")["value"]
    assert said in ("six", '"six"')


def test_new_and_deleted_files_come_and_go(fleet: Platform, project: Path) -> None:
    (project / "dags" / "team").mkdir(exist_ok=True)
    path = project / "dags" / "team" / "fresh.py"
    path.write_text(DAG.replace("hello", "fresh"))
    wait_description(fleet, "one", "fresh")
    path.unlink()
    wait_description(fleet, None, "fresh")
    assert describe(fleet) == "one"


def test_what_breaks_is_on_screen_and_gone_when_mended(fleet: Platform, project: Path) -> None:
    (project / "include" / "words.py").write_text("\nWORD = nope\n")
    (broken,) = wait_until(lambda: fleet.status()["import_errors"], "the error", every_s=0.5)
    assert broken["file"] == "dags/hello.py"
    assert broken["message"] == "NameError: name 'nope' is not defined (include/words.py:2)"
    assert "dags/hello.py does not load: NameError" in fleet.airfleet("status", check=False).stdout
    told = r"dags/hello\.py does not load: NameError: name 'nope' is not defined \(include/words\.py:2\)"
    wait_until(lambda: re.search(told, fleet.log("airfleet")), "the error in the supervisor's log")
    (project / "include" / "words.py").write_text('WORD = "mended"\n')
    wait_description(fleet, "mended")
    assert fleet.status()["import_errors"] == []
    wait_until(lambda: "dags/hello.py loads again" in fleet.log("airfleet"), "the mending")


def test_a_link_is_told_as_an_import_error_and_all_else_is_published(fleet: Platform, project: Path) -> None:
    (project / "dags" / "common").symlink_to("../include")
    (broken,) = wait_until(lambda: fleet.status()["import_errors"], "the error", every_s=0.5)
    assert broken["file"] == "dags/common"
    (project / "include" / "words.py").write_text('WORD = "published all the same"\n')
    wait_description(fleet, "published all the same")
    (project / "dags" / "common").unlink()
    wait_until(lambda: not fleet.status()["import_errors"], "the mending", every_s=0.5)


def test_editors_do_not_confuse_it(fleet: Platform, project: Path) -> None:
    path = project / "dags" / "hello.py"
    mark = path.with_name("mark.py")
    mark.write_text(DAG.replace("hello", "mark"))
    wait_description(fleet, "one", "mark")
    mark.unlink()
    wait_until(lambda: list_retired(fleet)[-1] == "1", "the line about the last publication before")
    before = len(list_retired(fleet))
    for name in (".hello.py.swp", "hello.py~", "4913", ".#hello.py", "#hello.py#", "hello.py___jb_tmp___"):
        (path.parent / name).write_text("not ( python")
        (path.parent / name).unlink()
    # Saved as vim and as JetBrains do: the file is away for a moment.
    backup, draft = path.with_name("hello.py~"), path.with_name("hello.py___jb_tmp___")
    path.rename(backup)
    path.write_text(DAG.replace("description=WORD", 'description="vim"'))
    backup.unlink()
    wait_description(fleet, "vim")
    draft.write_text(DAG.replace("description=WORD", 'description="pycharm"'))
    path.rename(path.with_name("hello.py___jb_old___"))
    draft.rename(path)
    path.with_name("hello.py___jb_old___").unlink()
    wait_description(fleet, "pycharm")
    wait_until(lambda: len(list_retired(fleet)) > before + 1, "the lines about both publications")
    assert list_retired(fleet)[before:] == ["0", "0"]


def test_folders_that_come_and_go_are_followed(fleet: Platform, project: Path) -> None:
    away = project / "away"
    (project / "include").rename(away)
    wait_until(lambda: fleet.status()["import_errors"], "the error", every_s=0.5)
    away.rename(project / "include")
    wait_description(fleet, "one")
    (project / "include" / "words.py").write_text('WORD = "back"\n')
    wait_description(fleet, "back")


def find_helpers(fleet: Platform) -> list[psutil.Process]:
    return [one for one in fleet.processes() if read_title(one) in HELPERS]


def test_a_killed_releaser_misses_nothing(fleet: Platform, project: Path) -> None:
    pid = fleet.pid("releaser")
    assert pid
    releaser = psutil.Process(pid)
    # A watcher that has just begun has its title in a moment.
    helpers = wait_until(
        lambda: {read_title(one) for one in find_helpers(fleet)} == HELPERS and find_helpers(fleet),
        "the helpers",
        seen=lambda: list(map(read_title, find_helpers(fleet))),
    )
    releaser.kill()
    (project / "include" / "words.py").write_text('WORD = "meanwhile"\n')
    wait_description(fleet, "meanwhile")
    wait_until(lambda: not any(map(is_alive, helpers)), "the end of its helpers")


def test_a_quiet_folder_is_not_parsed(fleet: Platform, project: Path) -> None:
    # A file that changes marks the end of what came before it; nothing else may have been parsed since.
    (project / "include" / "words.py").write_text('WORD = "mark"\n')
    wait_description(fleet, "mark")
    assert not list((fleet.state.logs / "dag_processor").rglob("*.py.log"))
    (project / "include" / "notes.txt").write_text("no Dag reads this")
    wait_until(lambda: re.search(r"published develop:.* parsed 0 in", fleet.log("releaser")), "the look")


def test_a_file_that_is_asked_for_is_parsed_again(fleet: Platform, project: Path) -> None:
    text = DAG.replace("hello", "clock").replace("=WORD", "=str(time.time())")
    (project / "dags" / "clock.py").write_text(f"import time\n{text}")
    before = wait_until(lambda: describe(fleet, "clock"), "the Dag")
    token = fleet.call("GET", "/dags/clock")["file_token"]
    fleet.call("PUT", f"/parseDagFile/{token}")
    wait_until(lambda: describe(fleet, "clock") not in (before, None), "another time")
    assert "Error refreshing bundle" not in fleet.log("dag-processor")


def test_nothing_can_be_deployed_to_a_folder(fleet: Platform, project: Path) -> None:
    done = fleet.airfleet("release", "deploy", check=False)
    assert done.returncode == 2
    assert "dags: releases" in done.stderr
    assert describe(fleet) == "one"
