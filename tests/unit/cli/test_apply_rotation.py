"""`apply` and the rotation of secrets: a step begins only when nothing works with what came before it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from airfleet.cli import apply
from airfleet.spec.secrets import Secret
from airfleet.workspace import credentials
from airfleet.workspace.rotation import RotationLedger, RotationStep
from airfleet.workspace.state_folder import StateFolder


def rotation(tmp_path: Path, *values: str) -> StateFolder:
    folder = StateFolder(tmp_path)
    folder.create()
    ledger = RotationLedger(folder.secrets)
    for value in values:
        ledger.notice("postgres_results_writer", Secret(value))
    ledger.write()
    return folder


def step(folder: StateFolder, value: str) -> RotationStep:
    return RotationLedger(folder.secrets).notice("postgres_results_writer", Secret(value)).step


def run(folder: StateFolder, monkeypatch: pytest.MonkeyPatch, looks: list[Any], drain_s: float = 100) -> apply.Run:
    """A run that sees these things in turn, on a clock that goes on with each pause."""
    now = [0.0]
    monkeypatch.setattr(apply.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(apply.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))

    def look(self: apply.Run, known: object) -> Any:  # noqa: ANN401 - made up
        assert not self.restart, "a look may not want a restart of everything"
        return looks.pop(0) if len(looks) > 1 else looks[0]

    monkeypatch.setattr(apply.Run, "_look", look)
    spec = cast(
        "Any",
        SimpleNamespace(
            rotations=RotationLedger(folder.secrets), fleet=SimpleNamespace(pools=[SimpleNamespace(name="cpu")])
        ),
    )
    return apply.Run(spec, folder, ExitStack(), "token", apply.PackageSource(is_offline=False), True, drain_s)


def seen(*, steps: tuple[str, ...] = (), errors: tuple[str, ...] = (), leaving: tuple[str, ...] = ()) -> Any:  # noqa: ANN401
    return SimpleNamespace(steps=leaving), SimpleNamespace(steps=steps, errors=errors)


def test_without_a_rotation_no_host_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(rotation(tmp_path, "a"), monkeypatch, []).rotate(at_once=False) is False


def test_the_next_step_begins_once_every_host_is_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = rotation(tmp_path, "a", "b")
    assert run(folder, monkeypatch, [seen()]).rotate(at_once=False)
    assert step(folder, "b") is RotationStep.USE


@pytest.mark.parametrize("before", [seen(steps=("restart",)), seen(errors=("away",)), seen(leaving=("drains",))])
def test_what_still_works_with_the_former_value_is_waited_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: Any,  # noqa: ANN401
) -> None:
    folder = rotation(tmp_path, "a", "b")
    assert run(folder, monkeypatch, [before, before, seen()]).rotate(at_once=False)
    assert step(folder, "b") is RotationStep.USE


@pytest.mark.parametrize("at_once", [False, True])
def test_a_host_that_is_not_seen_to_be_ready_keeps_both_values_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    folder = rotation(tmp_path, "a", "b")
    assert not run(folder, monkeypatch, [seen(steps=("restart",))]).rotate(at_once=at_once)
    assert step(folder, "b") is RotationStep.ACCEPT


def test_a_value_that_another_command_found_meanwhile_is_known_to_no_host_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = rotation(tmp_path, "a")
    begun = run(folder, monkeypatch, [seen()])
    rotation(tmp_path, "a", "b")  # as `airfleet plan` does when it finds another value in the file
    assert not begun.rotate(at_once=True)
    assert step(folder, "b") is RotationStep.ACCEPT


def test_an_apply_that_can_only_wait_looks_at_no_host_again_unless_it_may_revoke(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = StateFolder(tmp_path)
    folder.create()
    ledger = RotationLedger(folder.secrets)
    for value in ("a", "b"):
        ledger.notice("jwt_secret", Secret(value))
    ledger.advance(0.0)
    monkeypatch.setattr(apply.time, "time", lambda: 100.0)
    ledger.advance(100.0)
    assert not run(folder, monkeypatch, []).rotate(at_once=False)
    assert run(folder, monkeypatch, [seen()]).rotate(at_once=True)
    assert RotationLedger(folder.secrets).notice("jwt_secret", Secret("b")).step is RotationStep.SETTLED


def test_the_logins_of_an_earlier_version_are_forgotten_once_nobody_uses_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = rotation(tmp_path, "a")
    files = [folder.secrets / name for name in ("postgres_celery", "rabbitmq_worker", "rabbitmq_scheduler")]
    for file in files:
        file.write_text("shared by all")
    assert not run(folder, monkeypatch, [seen(errors=("away",))]).rotate(at_once=False)
    assert all(file.exists() for file in files), "a host that is away may still use them"
    assert run(folder, monkeypatch, [seen()]).rotate(at_once=False), "one more round removes them from the hosts"
    assert not any(file.exists() for file in files)
    assert not run(folder, monkeypatch, []).rotate(at_once=False)


def test_the_login_of_a_pool_that_is_gone_ends_once_none_of_its_workers_drains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = rotation(tmp_path, "a")
    for pool in ("cpu", "gone"):
        folder.keep_secret(f"rabbitmq_pool_{pool}")
    ledger = RotationLedger(folder.secrets)
    ledger.notice("rabbitmq_pool_gone", Secret("x"))
    ledger.write()
    assert credentials.read(folder, ledger, (), ["cpu"]).former_pools == ("gone",)
    for busy in (seen(steps=("remove airfleet-worker-gone.service",)), seen(errors=("away",))):
        assert not run(folder, monkeypatch, [busy]).rotate(at_once=True)
        assert credentials.read(folder, RotationLedger(folder.secrets), (), ["cpu"]).former_pools == ("gone",)
    assert run(folder, monkeypatch, [seen()]).rotate(at_once=False), "one more round removes it at the broker"
    assert credentials.read(folder, RotationLedger(folder.secrets), (), ["cpu"]).former_pools == ()
    assert "gone" not in "".join(path.name + path.read_text() for path in folder.secrets.iterdir())
    assert credentials.describe_former(folder, ["cpu"]) == ()
