"""A token that was checked a moment ago is not checked again, unless it has expired or is another one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airfleet_provider.compat.calls.checked_tokens import KNOWN_S, MOST_KNOWN, CheckedTokens
from forked import run_forked

CLAIMS = {"sub": "one", "exp": 1_000, "scope": "execution"}


class TokenClocks:
    """The clock of a process, and that of the wall, which tokens go by."""

    steady_s = wall_s = 0.0

    def make_tokens(self) -> CheckedTokens:
        return CheckedTokens(lambda: self.steady_s, lambda: self.wall_s)


def test_a_checked_token_is_known_for_a_while() -> None:
    time = TokenClocks()
    tokens = time.make_tokens()
    assert tokens.find("token") is None
    tokens.keep("token", "one", CLAIMS)
    time.steady_s = KNOWN_S - 1
    assert tokens.find("token") == ("one", CLAIMS)
    assert tokens.find("tokem") is None
    time.steady_s = KNOWN_S
    assert tokens.find("token") is None


def test_a_token_that_expires_is_unknown_at_once() -> None:
    time = TokenClocks()
    tokens = time.make_tokens()
    tokens.keep("token", "one", CLAIMS)
    time.wall_s = 1_000
    assert tokens.find("token") is None


def test_who_gets_claims_cannot_change_those_of_others() -> None:
    tokens = TokenClocks().make_tokens()
    given: dict[str, Any] = dict(CLAIMS)
    tokens.keep("token", "one", given)
    given["scope"] = "workload"
    found = tokens.find("token")
    assert found is not None
    assert found[1]["scope"] == "execution"
    with pytest.raises(TypeError):
        found[1]["scope"] = "workload"  # type: ignore[index]


def test_of_too_many_tokens_the_oldest_is_forgotten() -> None:
    tokens = TokenClocks().make_tokens()
    for number in range(MOST_KNOWN):
        tokens.keep(str(number), "one", CLAIMS)
    tokens.keep("0", "one", CLAIMS)
    tokens.keep("last", "one", CLAIMS)
    assert [name for name in ("0", "1", "last") if tokens.find(name)] == ["0", "last"]


def read_twice() -> list[object]:
    from airfleet_provider.compat.calls.execution_api import Models  # noqa: PLC0415 - with the settings of the fork

    models, checked = Models(), []
    check = models._validator.avalidated_claims

    async def count(token: str, wanted: dict[str, Any]) -> dict[str, Any]:
        checked.append(token)
        found: dict[str, Any] = await check(token, wanted)
        return found

    models._validator = SimpleNamespace(avalidated_claims=count)
    token = models.sign("01890a5d-ac96-774b-bcce-b302099a8057")
    forged = token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")
    answers: list[object] = []
    for one in (token, token, forged, forged):
        try:
            answers.append(asyncio.run(models.read_claims(one))[0][-4:])
        except Exception:
            answers.append("refused")
    return [answers, [one == token for one in checked]]


def test_a_valid_token_is_checked_once_and_a_forged_one_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv(
        "AIRFLOW__API_AUTH__JWT_SECRET", "a secret of sixty-four bytes, which the algorithm asks for, and more"
    )
    assert run_forked(read_twice) == [["8057", "8057", "refused", "refused"], [True, False, False]]
