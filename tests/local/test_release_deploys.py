"""`airfleet release deploy`, killed, and several at once: every deployment ends, and the next one works."""

from __future__ import annotations

import os
import subprocess
import sys

import psycopg
import pytest

from airfleet.spec.secrets import Secret
from airfleet.workspace.state_folder import StateFolder
from deadline import COMMAND_S, wait_until
from shops import Shop

pytestmark = pytest.mark.local

BLOCKED = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s"
UNFINISHED = "SELECT state FROM airfleet.deployment WHERE bundle = %s AND state NOT IN ('done', 'failed', 'watching')"


@pytest.fixture
def counter(kiosk: Shop) -> Shop:
    """A shop with a live release, and a project from which the command line reaches it."""
    folder = StateFolder(kiosk.project / ".airfleet")
    folder.create()
    folder.write_dsn(Secret(kiosk.database.dsn))
    (kiosk.project / "fleet.yaml").write_text(f"name: {kiosk.name}\ndags: releases\n")
    kiosk.deploy(kiosk.build())
    kiosk.write("d00", task="other")
    return kiosk


def start_deploy(shop: Shop, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "airfleet", "release", "deploy", "--no-tests", *words],
        cwd=shop.project,
        env={**os.environ, "EXECUTIONS": str(shop.executions)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def count(shop: Shop, action: str) -> int:
    statement = "SELECT count(*) FROM airfleet.deployment WHERE bundle = %s AND action = %s AND reason <> 'because'"
    return int(shop.database.query(statement, shop.name, action)[0][0])


@pytest.mark.parametrize(
    ("point", "is_live"),
    [
        ("while it keeps the release", False),
        ("before it asks for the check", False),
        ("while it waits for the check", False),
        ("after it asked for the promotion", True),
        ("while it waits for the verdict", True),
    ],
)
def test_a_deploy_that_is_killed_leaves_all_as_it_was_or_goes_on(counter: Shop, point: str, is_live: bool) -> None:
    old = counter.live()
    with psycopg.connect(counter.database.dsn) as blocker:
        match point:
            case "while it keeps the release":
                blocker.execute("LOCK TABLE airfleet.release IN EXCLUSIVE MODE")
                deploy = start_deploy(counter)
                wait_until(lambda: counter.database.query(BLOCKED, "%airfleet.release%"), "the build")
            case "before it asks for the check":
                blocker.execute("LOCK TABLE airfleet.deployment IN EXCLUSIVE MODE")
                deploy = start_deploy(counter)
                wait_until(lambda: counter.database.query(BLOCKED, "INSERT%"), "the request")
            case "while it waits for the check":
                counter.kill()
                deploy = start_deploy(counter)
                wait_until(lambda: count(counter, "check"), "the check")
            case "after it asked for the promotion":
                counter.kill()
                deploy = start_deploy(counter, "--no-check")
                wait_until(lambda: count(counter, "promote"), "the promotion")
            case _:
                deploy = start_deploy(counter, "--no-check", "--watch")
                wait_until(lambda: counter.live() != old, "the promotion")
        deploy.kill()
        deploy.communicate()
    if counter.releaser is None:
        counter.start()
    new = counter.build()
    if is_live:
        counter.await_live(new)
    wait_until(lambda: not counter.database.query(UNFINISHED, counter.name), "the queue to be empty")
    assert counter.live() == (new if is_live else old)
    again = start_deploy(counter)
    said, told = again.communicate(timeout=COMMAND_S)
    assert (again.returncode, said.strip()) == (0, new), told
    assert counter.live() == new
    assert {row[0] for row in counter.versions().values()} == {new}


def test_two_deploys_of_different_files_at_once_both_end_and_the_later_one_is_live(counter: Shop) -> None:
    first = start_deploy(counter, "--no-check")
    wait_until(lambda: count(counter, "promote"), "the first promotion")
    counter.write("d01", task="other")
    second = start_deploy(counter, "--no-check")
    third = start_deploy(counter, "--no-check")
    ended = [deploy.communicate(timeout=COMMAND_S) for deploy in (first, second, third)]
    assert [deploy.returncode for deploy in (first, second, third)] == [0, 0, 0], ended
    releases = [said.strip() for said, _ in ended]
    assert releases[0] != releases[1] == releases[2] == counter.live()
    assert {row[0] for row in counter.versions().values()} == {counter.live()}
