"""The rotation of a secret: in every step, each value in use is accepted."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from airfleet.spec.secrets import Rotating, Secret, by_login, find_login, list_accepted
from airfleet.workspace import rotation, state_folder
from airfleet.workspace.rotation import (
    RotatedSecret,
    RotationLedger,
    RotationStep,
    advance,
    find_carried,
    notice,
    present,
    present_alone,
)
from killed_lines import run_until
from rotations import show_steps

HOUR = 3600.0
INTRODUCTION = ("accept", "use", "finish", "settled")


def begin(*values: str) -> RotatedSecret:
    entry = None
    for value in values:
        entry = notice(entry, Secret(value))
    assert entry is not None
    return entry


def valid(secret: Rotating) -> set[str]:
    return {one.reveal() for one in list_accepted(secret)}


@pytest.mark.parametrize("values", [("a", "b"), ("a", "b", "c"), ("a", "b", "a"), ("a", "b", "c", "d")])
def test_what_a_host_uses_is_accepted_by_hosts_that_are_one_step_behind_or_ahead(values: tuple[str, ...]) -> None:
    steps = list(show_steps(begin(*values)))
    for before, after in itertools.pairwise(steps):
        # In the middle of a step some hosts are already what it wants, and some are not yet.
        for user, owner in itertools.product((before, after), repeat=2):
            assert user.reveal() in valid(owner)
            assert find_login("airflow", user) in by_login("airflow", owner)
    assert steps[-1].reveal() == values[-1]
    assert valid(steps[-1]) == {values[-1]}


def test_a_login_has_one_password_for_as_long_as_it_is_valid() -> None:
    entry = begin("a", "b")
    first = by_login("x", present(entry))
    for shown in show_steps(entry):
        for login, password in by_login("x", shown).items():
            assert first.get(login, password) == password


def test_a_second_rotation_begins_before_the_first_is_over() -> None:
    entry = advance(begin("a", "b"), 0.0)
    assert (entry.step, present(entry).reveal()) == (RotationStep.USE, "b")
    entry = notice(entry, Secret("c"))
    shown = present(entry)
    assert shown.reveal() == "b", "some hosts use it by now, and c is known to none"
    assert valid(shown) == {"a", "b", "c"}
    assert len(by_login("x", shown)) == 3


def test_the_order_of_logins_does_not_change_when_another_comes_into_use() -> None:
    accept = begin("a", "b")
    use = advance(accept, 0.0)
    assert list(by_login("x", present(accept))) == list(by_login("x", present(use))) == ["x", "x.1"]


def test_a_value_that_tasks_carry_outlives_its_use() -> None:
    finish = advance(advance(begin("a", "b"), 0.0), 1000.0)
    assert advance(finish, 1000.0 + HOUR, carried_s=2 * HOUR) == finish
    assert advance(finish, 1000.0 + 2 * HOUR, carried_s=2 * HOUR).step is RotationStep.SETTLED


def test_a_clock_that_was_set_back_keeps_nothing_for_ever() -> None:
    finish = advance(advance(begin("a", "b"), 0.0), 1e9)
    assert advance(finish, 2 * HOUR, carried_s=2 * HOUR) == finish
    assert advance(finish, 1e9 + 2 * HOUR, carried_s=2 * HOUR).step is RotationStep.SETTLED


def test_a_secret_at_rest_is_one_value() -> None:
    shown = present(begin("a"))
    assert (shown.reveal(), shown.others, shown.slot, shown.is_settling) == ("a", (), 0, False)


def test_one_machine_uses_the_new_value_at_once_and_reads_the_former() -> None:
    shown = present_alone("x", begin("a", "b"))
    assert shown.reveal() == "b"
    assert valid(shown) == {"a", "b"}
    assert shown.slot == 0
    assert shown.is_settling


def test_the_ledger_is_written_before_a_value_is_handed_on_and_read_again(tmp_path: Path) -> None:
    ledger = RotationLedger(tmp_path)
    ledger.notice("jwt_secret", Secret("a"))
    ledger.write()
    again = RotationLedger(tmp_path)
    assert present(again.notice("jwt_secret", Secret("b"))).reveal() == "a"
    again.write()
    file = tmp_path / "rotations.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert RotationLedger(tmp_path).notice("jwt_secret", Secret("b")).step is RotationStep.ACCEPT
    assert json.loads(file.read_text())["jwt_secret"]["step"] == "accept"


@pytest.mark.parametrize("gone", ["rotations.json", "rotations-copy.json"])
def test_either_file_of_the_ledger_is_enough(tmp_path: Path, gone: str) -> None:
    ledger = RotationLedger(tmp_path)
    for value in ("a", "b"):
        ledger.notice("jwt_secret", Secret(value))
    ledger.write()
    (tmp_path / gone).unlink()
    again = RotationLedger(tmp_path)
    assert not again.is_missing
    assert again.notice("jwt_secret", Secret("b")).step is RotationStep.ACCEPT
    again.write()
    assert (tmp_path / "rotations.json").read_text() == (tmp_path / "rotations-copy.json").read_text()


def test_an_introduction_that_is_killed_anywhere_is_continued_and_never_undone(tmp_path: Path) -> None:
    """After a death at any line, the ledger has the step before or after it, whose hosts understand each other."""

    def reach(step: int, folder: Path) -> RotationLedger:
        ledger = RotationLedger(folder)
        ledger.notice("tls_cluster", Secret("inet_tls"), is_introduced=True)
        ledger.write()
        for _ in range(step):
            ledger.advance(0.0)
        return ledger

    for step, (before, after) in enumerate(itertools.pairwise(RotationStep(name) for name in INTRODUCTION)):
        made = itertools.count()
        (tmp_path / f"{step}").mkdir()
        whole = reach(step, tmp_path / f"{step}")
        lines = run_until(lambda: whole.advance(0.0), None, rotation, state_folder)  # noqa: B023
        for line in lines:
            folder = tmp_path / f"{step}-{next(made)}"
            folder.mkdir()
            ledger = reach(step, folder)
            run_until(lambda: ledger.advance(0.0), line, rotation, state_folder)  # noqa: B023
            again = RotationLedger(folder)
            found = again.notice("tls_cluster", Secret("inet_tls"), is_introduced=True)
            assert found.step in (before, after), line
            while again.advance(0.0):
                pass
            ended = RotationLedger(folder).notice("tls_cluster", Secret("inet_tls"), is_introduced=True)
            assert (ended.step, valid(present(ended))) == (RotationStep.SETTLED, {"inet_tls"}), line


def test_every_rotation_takes_its_steps_and_those_that_wait_do_not_hold_up_others(tmp_path: Path) -> None:
    ledger = RotationLedger(tmp_path)
    for value in ("a", "b"):
        for name in ("jwt_secret", "postgres_results_writer"):
            ledger.notice(name, Secret(value))
    assert ledger.advance(0.0)
    assert ledger.advance(10.0)
    assert ledger.advance(20.0), "the login of results has nothing to wait for"
    assert not ledger.advance(30.0)
    assert not ledger.is_due(30.0)
    [line] = ledger.describe(30.0)
    assert line.startswith("jwt_secret: running tasks may still use")
    assert ledger.is_due(10.0 + find_carried("jwt_secret"))
    assert ledger.advance(30.0, at_once=True)
    assert list(ledger.describe(30.0)) == []


def test_what_reads_old_backups_is_kept_and_no_longer_accepted(tmp_path: Path) -> None:
    ledger = RotationLedger(tmp_path)
    ledger.notice("fernet_key", Secret("a"))
    ledger.notice("fernet_key", Secret("b"))
    for _ in range(3):
        ledger.advance(0.0)
    entry = RotationLedger(tmp_path).notice("fernet_key", Secret("b"))
    assert valid(present(entry)) == {"b"}
    assert [value.reveal() for value in entry.retired] == ["a"]


def test_one_machine_forgets_at_once_what_nothing_carries(tmp_path: Path) -> None:
    ledger = RotationLedger(tmp_path)
    for value in ("a", "b"):
        for name in ("jwt_secret", "postgres_airflow", "postgres_superuser"):
            ledger.notice(name, Secret(value))
    ledger.settle(50.0)
    again = RotationLedger(tmp_path)
    assert valid(present_alone("postgres_airflow", again.notice("postgres_airflow", Secret("b")))) == {"b"}
    assert valid(present_alone("jwt_secret", again.notice("jwt_secret", Secret("b")))) == {"a", "b"}
    # A restored backup may want it.
    assert valid(present_alone("postgres_superuser", again.notice("postgres_superuser", Secret("b")))) == {"a", "b"}
    again.settle(50.0 + find_carried("jwt_secret"))
    assert valid(present_alone("jwt_secret", RotationLedger(tmp_path).notice("jwt_secret", Secret("b")))) == {"b"}


def test_one_machine_gives_airflow_no_former_key_once_nothing_is_encrypted_with_it(tmp_path: Path) -> None:
    ledger = RotationLedger(tmp_path)
    for value in ("a", "b"):
        ledger.notice("fernet_key", Secret(value))
    ledger.settle(0.0)
    assert valid(present_alone("fernet_key", ledger.notice("fernet_key", Secret("b")))) == {"b"}


@pytest.mark.parametrize(
    ("name", "carried"),
    [
        ("jwt_secret", True),
        ("jwt_key", True),
        ("postgres_warehouse", True),
        ("postgres_airflow", False),
        ("postgres_results_writer", False),
        ("postgres_replicator", False),
        ("rabbitmq_pool_default", False),
        ("admin_password", False),
    ],
)
def test_what_a_task_is_given_when_it_starts_outlives_the_switch(name: str, carried: bool) -> None:
    assert (find_carried(name) > 0) == carried


def test_no_value_is_shown() -> None:
    assert "hunter2" not in repr(begin("hunter2", "hunter3"))
    assert "hunter2" not in f"{present(begin('hunter2'))}"
