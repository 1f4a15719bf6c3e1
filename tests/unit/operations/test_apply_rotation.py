"""`apply` and rotations: a step begins only when no process uses a value of the step before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from airfleet.errors import AirfleetError
from airfleet.operations.apply import Apply, PackageSource
from airfleet.spec.secrets import Secret
from airfleet.workspace import applied_hosts, credentials
from airfleet.workspace.rotation import RotationLedger, RotationStep
from airfleet.workspace.state_folder import StateFolder
from clocks import MadeUpClock
from places import parse


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


class Looks:
    """A session whose surveys give these results in turn."""

    def __init__(self, folder: StateFolder, looks: list[Any]) -> None:
        self.folder, self.looks = folder, looks
        fleet = SimpleNamespace(pools=[SimpleNamespace(name="cpu")])
        self.spec = SimpleNamespace(rotations=RotationLedger(folder.secrets), fleet=fleet)
        self.notify = lambda _: None

    def survey_all(self, _: object, *, apart: bool) -> Any:  # noqa: ANN401 - made up
        assert apart, "what is seen while waiting is no part of the round"
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]


def run(folder: StateFolder, looks: list[Any], drain_s: float = 100, now: float | None = None) -> Apply:
    """Run an apply whose surveys give these results in turn, on a clock that each pause advances."""
    clock = MadeUpClock()
    return Apply(
        cast("Any", Looks(folder, looks)),
        (),
        source=PackageSource(is_offline=False),
        report=lambda _: None,
        restart=True,
        drain_s=drain_s,
        clock=clock,
        sleep=clock.sleep,
        **({} if now is None else {"now": lambda: now}),
    )


def seen(*, steps: tuple[str, ...] = (), errors: tuple[str, ...] = (), leaving: tuple[str, ...] = ()) -> Any:  # noqa: ANN401
    return SimpleNamespace(steps=leaving), SimpleNamespace(steps=steps, errors=errors)


def test_without_a_rotation_no_host_is_looked_at(tmp_path: Path) -> None:
    assert run(rotation(tmp_path, "a"), []).rotate(at_once=False) is False


def test_the_next_step_begins_once_every_host_is_ready(tmp_path: Path) -> None:
    folder = rotation(tmp_path, "a", "b")
    assert run(folder, [seen()]).rotate(at_once=False)
    assert step(folder, "b") is RotationStep.USE


@pytest.mark.parametrize("before", [seen(steps=("restart",)), seen(errors=("away",)), seen(leaving=("drains",))])
def test_what_still_works_with_the_former_value_is_waited_for(
    tmp_path: Path,
    before: Any,  # noqa: ANN401
) -> None:
    folder = rotation(tmp_path, "a", "b")
    assert run(folder, [before, before, seen()]).rotate(at_once=False)
    assert step(folder, "b") is RotationStep.USE


@pytest.mark.parametrize("at_once", [False, True])
def test_a_host_that_is_not_seen_to_be_ready_keeps_both_values_valid(tmp_path: Path, at_once: bool) -> None:
    folder = rotation(tmp_path, "a", "b")
    assert not run(folder, [seen(steps=("restart",))]).rotate(at_once=at_once)
    assert step(folder, "b") is RotationStep.ACCEPT


def test_a_value_that_another_command_found_meanwhile_is_known_to_no_host_yet(tmp_path: Path) -> None:
    folder = rotation(tmp_path, "a")
    begun = run(folder, [seen()])
    rotation(tmp_path, "a", "b")  # as `airfleet plan` does when it finds another value in the file
    assert not begun.rotate(at_once=True)
    assert step(folder, "b") is RotationStep.ACCEPT


def test_an_apply_that_can_only_wait_looks_at_no_host_again_unless_it_may_revoke(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.create()
    ledger = RotationLedger(folder.secrets)
    for value in ("a", "b"):
        ledger.notice("jwt_secret", Secret(value))
    ledger.advance(0.0)
    ledger.advance(100.0)
    assert not run(folder, [], now=100.0).rotate(at_once=False)
    assert run(folder, [seen()], now=100.0).rotate(at_once=True)
    assert RotationLedger(folder.secrets).notice("jwt_secret", Secret("b")).step is RotationStep.SETTLED


def test_a_fleet_whose_ledger_is_gone_is_refused_and_does_not_go_back_to_connections_without_tls(
    tmp_path: Path,
) -> None:
    folder, fleet = StateFolder(tmp_path), parse()
    folder.create()
    first = credentials.read(folder, RotationLedger(folder.secrets), fleet)
    assert first.encryption.is_required, "a new fleet has TLS from the beginning"
    applied_hosts.write(tmp_path, fleet.hosts)
    (folder.secrets / "rotations.json").unlink()
    assert credentials.read(folder, RotationLedger(folder.secrets), fleet).encryption.is_required
    for name in ("rotations.json", "rotations-copy.json"):
        (folder.secrets / name).unlink()
    with pytest.raises(AirfleetError, match="the ledger of secrets is gone"):
        credentials.read(folder, RotationLedger(folder.secrets), fleet)
    assert not (folder.secrets / "rotations.json").exists()


def test_the_logins_of_an_earlier_version_are_forgotten_once_nobody_uses_them(tmp_path: Path) -> None:
    folder = rotation(tmp_path, "a")
    files = [folder.secrets / name for name in ("postgres_celery", "rabbitmq_worker", "rabbitmq_scheduler")]
    for file in files:
        file.write_text("shared by all")
    assert not run(folder, [seen(errors=("away",))]).rotate(at_once=False)
    assert all(file.exists() for file in files), "a host that is away may still use them"
    assert run(folder, [seen()]).rotate(at_once=False), "one more round removes them from the hosts"
    assert not any(file.exists() for file in files)
    assert not run(folder, []).rotate(at_once=False)


def test_the_login_of_a_pool_that_is_gone_ends_once_none_of_its_workers_drains(tmp_path: Path) -> None:
    folder = rotation(tmp_path, "a")
    for pool in ("cpu", "gone"):
        folder.keep_secret(f"rabbitmq_pool_{pool}")
    ledger = RotationLedger(folder.secrets)
    ledger.notice("rabbitmq_pool_gone", Secret("x"))
    ledger.write()
    fleet = parse()
    fleet = replace(fleet, pools=tuple(pool for pool in fleet.pools if pool.name == "cpu"))
    assert credentials.read(folder, ledger, fleet).former_pools == ("gone",)
    for busy in (seen(steps=("remove airfleet-worker-gone.service",)), seen(errors=("away",))):
        assert not run(folder, [busy]).rotate(at_once=True)
        assert credentials.read(folder, RotationLedger(folder.secrets), fleet).former_pools == ("gone",)
    assert run(folder, [seen()]).rotate(at_once=False), "one more round removes it at the broker"
    assert credentials.read(folder, RotationLedger(folder.secrets), fleet).former_pools == ()
    assert "gone" not in "".join(path.name + path.read_text() for path in folder.secrets.iterdir() if path.is_file())
    assert credentials.describe_former(folder, ["cpu"]) == ()
