"""`airfleet access tokens`: what reaches the platform is never the token; and how long one may last."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

import click
import pytest

from airfleet.cli import access_tokens, run
from airfleet.operations import explanation
from airfleet.operations.dag_runs import AirflowResult
from airfleet_provider.contract import access_token
from command_line import invoke


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    words: list[Sequence[str]] = []

    def call(_: object, *verb: str, words: Sequence[str], said: list[Sequence[str]] = words) -> AirflowResult:
        said.append((*verb, *words))
        told = "noise\nairfleet: taken has a token already\n\nhint: choose another name"
        return AirflowResult(1 if "taken" in words else 0, told)

    monkeypatch.setattr(run, "call_airfleet", call)
    monkeypatch.setattr(explanation, "find_place", lambda *_: None)
    return words


def test_the_token_is_printed_once_and_the_platform_gets_its_hash(sent: list[Sequence[str]]) -> None:
    result = invoke("access", "tokens", "create", "ci", "--role", "team-a", "--expires", "2d")
    token = result.stdout.strip()
    assert access_token.find_id(token)
    (words,) = sent
    assert words[:4] == ("airflow", "--own", "airfleet", "access-token"), "by hand, it is refused"
    assert access_token.make_hash(token) in words
    assert token not in json.dumps(words)
    assert ("--seconds=172800" in words, "team-a" in words) == (True, True)


def test_a_token_that_was_not_made_is_not_printed(sent: list[Sequence[str]]) -> None:
    result = invoke("access", "tokens", "create", "taken", "--role", "Op")
    assert result.exit_code
    assert "aft_" not in result.output
    assert str(result.exception).strip() == "taken has a token already\n\nhint: choose another name"


@pytest.mark.parametrize("name", ["admin", "CI", "-x", "a b", ""])
def test_a_name_that_cannot_be_one_is_refused(sent: list[Sequence[str]], name: str) -> None:
    assert invoke("access", "tokens", "create", "--role", "Op", "--", name).exit_code
    assert not sent


def test_the_role_of_those_without_a_login_is_refused(sent: list[Sequence[str]]) -> None:
    result = invoke("access", "tokens", "create", "ci", "--role", "Op", "--role", "Public")
    assert "the role Public is for those without a login" in str(result.exception)
    assert not sent


def test_the_end_of_a_token_is_bounded() -> None:
    assert [access_tokens.parse_expiry(one) for one in ("1h", "90d", "8w")] == [3600, 7_776_000, 4_838_400]
    for wrong in ("0d", "401d", "never", "1", "1y", "-1d", "1 d", "99999d", ""):
        with pytest.raises(click.BadParameter):
            access_tokens.parse_expiry(wrong)


def test_the_access_of_thousands_of_users_reaches_the_command() -> None:
    """One word of a command line has 128 KiB at most."""
    program = (
        "import os, sys; from airfleet.cli.airflow import give_input; give_input('é' * 5_000_000);"
        " os.execv(sys.executable, [sys.executable, '-c', 'import sys; print(len(sys.stdin.read()))'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, input="other")
    assert done.stdout.strip() == "5000000"
