"""An api-server without its database answers with an error that allows a retry, and never with "not found"."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_programs import list_environment
from deadline import PATIENCE_S
from servers import serve

pytestmark = pytest.mark.local

SCRIPT = Path(__file__).parents[1] / "support" / "outage_answers.py"
# These do not ask the database: nobody has logged in.
REFUSED_ALL_THE_SAME = {"REST without a token"}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The answers before PostgreSQL was stopped, while it was stopped, and after it was started again."""
    home = tmp_path_factory.mktemp("airflow")
    (home / "webserver_config.py").write_text("WTF_CSRF_ENABLED = False\n")
    with serve() as server:
        env = list_environment(server, home) | {
            "AIRFLOW__CORE__AUTH_MANAGER": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "CRITICAL",
        }
        with (home / "err").open("w+") as errors:
            process = subprocess.Popen(
                [sys.executable, str(SCRIPT)],
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
            assert process.stdin and process.stdout
            try:
                for act in (server.stop, server.start):
                    while process.stdout.readline() not in ("ready\n", ""):
                        pass
                    act()
                    if process.poll() is None:
                        process.stdin.write("\n")
                        process.stdin.flush()
                output = process.stdout.read()
                code = process.wait(PATIENCE_S)
            finally:
                process.kill()
            errors.seek(0)
            assert code == 0, errors.read()[-3000:]
        yield json.loads(output.splitlines()[-1])


def test_every_call_is_answered_with_try_again(said: dict[str, Any]) -> None:
    away = said["away"]["answers"]
    wrong = {call: status for call, status in away.items() if status < 500 and call not in REFUSED_ALL_THE_SAME}
    assert not wrong


def test_no_lookup_says_that_nothing_is_there(said: dict[str, Any]) -> None:
    assert set(said["away"]["inside"].values()) == {"LookupFailedError"}


def test_all_is_as_before_when_it_is_back(said: dict[str, Any]) -> None:
    assert said["after"] == said["before"]


def test_what_is_not_there_is_still_not_there(said: dict[str, Any]) -> None:
    answers, inside = said["before"]["answers"], said["before"]["inside"]
    assert [answers[f"{kind} {key}"] for kind in ("variable", "connection") for key in ("known", "unknown")] == [
        200,
        404,
        200,
        404,
    ]
    assert (answers["token for the right password"], answers["token for the wrong password"]) == (201, 401)
    assert inside["models.Variable.get unknown or a default"] == "'default'"
    assert inside["sdk.Variable.get unknown or a default"] == "'default'"
    assert inside["sdk.Connection.get unknown"] == "AirflowNotFoundException"


def test_a_task_that_succeeded_does_not_fail_because_a_connection_broke(said: dict[str, Any]) -> None:
    assert said["end"] == {"lost": 503, "state": "running"}


def test_a_scheduler_finds_whom_it_was_told_and_not_who_spoke_meanwhile(said: dict[str, Any]) -> None:
    assert said["tasks"] == {"running": 1, "of another scheduler": 0, "dead": 1, "spoke meanwhile": 0}
