"""Commands that have little to say, say it in whole words."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from command_line import invoke


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "ann has no failed logins"),
        (1, "1 failed login of ann is forgotten"),
        (2, "2 failed logins of ann are forgotten"),
    ],
)
def test_unlocking_says_how_many_failed_logins_are_forgotten(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, count: int, said: str
) -> None:
    opened = SimpleNamespace(unlock=lambda _: count)
    monkeypatch.setattr("airfleet.operations.access.open_access", lambda *_: nullcontext(opened))
    done = invoke("access", "unlock", "ann", "--project", str(tmp_path))
    assert done.stderr == f"{said}\n"


def test_a_list_without_a_moved_dag_says_so(tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    done = invoke("migrate", "cutover", "--list", "--project", str(tmp_path))
    assert (done.exit_code, done.stdout) == (0, "")
    assert "no Dag was moved" in done.stderr


def test_a_list_without_a_release_says_how_to_make_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("airfleet.cli.release._open", lambda *_: SimpleNamespace(list_releases=lambda _: []))
    done = invoke("release", "list", "--project", str(tmp_path))
    assert (done.exit_code, done.stdout) == (0, "")
    assert "airfleet release deploy" in done.stderr
    assert invoke("release", "list", "--json", "--project", str(tmp_path)).stdout == "[]\n"


@pytest.mark.parametrize(("chosen", "said"), [([], "of a task"), (["--dag", "sale"], "of such a task")])
def test_usage_without_an_attempt_says_whether_the_choice_left_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, chosen: list[str], said: str
) -> None:
    monkeypatch.setattr("airfleet.operations.usage.read_usage", lambda *_, **__: ([], {}))
    done = invoke("usage", *chosen, "--project", str(tmp_path))
    assert f"no attempt {said} has ended since" in done.stderr


@pytest.mark.parametrize("words", [("--runs", "3"), ("--timeout", "9"), ("--table", "a.b"), ("--tables-env", "A", "B")])
def test_what_only_a_dag_needs_is_refused_without_one(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = invoke("migrate", "rehearse", *words, "--project", str(tmp_path))
    assert f"{words[0]} without a Dag" in str(done.exception)


@pytest.mark.parametrize("option", ["--calm", "--jitter"])
@pytest.mark.parametrize("value", ["", "10", "-5m"])
def test_a_duration_that_is_none_is_refused(tmp_path: Path, option: str, value: str) -> None:
    done = invoke("scale", "simulate", "cpu", option, value, "--project", str(tmp_path))
    assert f"{option} {value!r} is no duration" in str(done.exception)


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_where_no_pool_scales_a_list_of_hosts_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr("airfleet.operations.slots.open_slots", lambda *_: nullcontext(SimpleNamespace(rules={})))
    done = invoke("scale", "hosts", *words, "--project", str(tmp_path))
    assert (done.exit_code, done.stdout) == (0, "[]\n" if words else "")
    assert words or "no pool scales" in done.stderr
