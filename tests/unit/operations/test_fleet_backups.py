"""Backups of a fleet: pgBackRest's output is read and reported, and an interrupted restore is found."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airfleet.components.host_model import LIB
from airfleet.components.model import reveal
from airfleet.components.postgresql import backups
from airfleet.operations.backup.pgbackrest import recovery, repository, scripts
from airfleet.operations.backup.pgbackrest.repository import RepositoryState
from airfleet.operations.backup.pgbackrest.scripts import Order
from airfleet.runners.fleet.plan import diff
from airfleet.runners.fleet.plan.facts import HostFacts
from airfleet.runners.fleet.plan.steps import Bring, RunJob
from airfleet.runners.fleet.transport import sections
from airfleet.runners.fleet.transport.connection import Output
from airfleet.spec.fleet import Backups
from deadline import PATIENCE_S
from places import NINE, desired

ENDED = datetime(2026, 11, 24, 12, 0, 9, tzinfo=UTC)
NOW = ENDED + timedelta(hours=1)
ORDER = Order("20261124T130000Z", "20261124-120000F", NOW)
TWO = NINE.replace("  data1:", "  data2: {address: 10.0.0.42, roles: [database]}\n  data1:")
HOSTS = ("data1", "data2", "sched1")


def tell(label: str = "20261124-120000F", stop: datetime = ENDED, *, error: bool = False) -> dict[str, object]:
    return {
        "label": label,
        "archive": {"start": "000000020000000000000005", "stop": "000000020000000000000006"},
        "database": {"id": 1, "repo-key": 1},
        "error": error,
        "info": {"repository": {"delta": 2812281, "size": 2812281}, "size": 22992586},
        "timestamp": {"start": int(stop.timestamp()) - 9, "stop": int(stop.timestamp())},
        "type": "full",
    }


def info(*told: dict[str, object]) -> str:
    return json.dumps([{"name": "airfleet", "db": [{"id": 1, "version": "15"}], "backup": list(told)}])


def test_a_backup_is_read_and_what_lies_within_its_last_second_is_not_after_it() -> None:
    (found,) = repository.parse_backups(info(tell()))
    assert (found.name, found.bytes, found.postgres) == ("20261124-120000F", 2812281, "15")
    assert found.first_segment == "000000020000000000000005"
    assert (found.began, found.ended) == (ENDED - timedelta(seconds=9), ENDED + timedelta(seconds=1))


def test_damaged_backups_are_no_backups_and_the_newest_comes_last() -> None:
    later = ENDED + timedelta(days=1)
    found = repository.parse_backups(info(tell("c", later), tell("b", error=True), tell("a")))
    assert [backup.name for backup in found] == ["a", "c"]
    assert repository.parse_backups('[{"name": "airfleet", "db": [], "backup": []}]') == ()


@pytest.mark.parametrize(
    ("age", "every", "is_well"), [(1, 24, True), (29, 24, True), (31, 24, False), (2, 1, False), (31, 48, True)]
)
def test_a_backup_that_is_overdue_is_told(age: int, every: int, is_well: bool) -> None:
    backups = repository.parse_backups(info(tell()))
    archive = RepositoryState(backups, 3 << 20, 5 << 30, ENDED + timedelta(hours=age))
    (what, well, said), _ = repository.judge(archive, Backups(every_hours=every))
    assert (what, well) == ("backups", is_well)
    assert "1, the newest" in said
    assert "3 MiB used, 5.0 GiB free in /var/lib/airfleet/backups" in said


def test_no_backup_is_well_only_while_the_first_is_being_made() -> None:
    archive = RepositoryState((), 0, 1, NOW, began_s=60)
    assert repository.judge(archive, Backups())[0][1]
    assert not repository.judge(replace(archive, began_s=3600), Backups())[0][1]


@pytest.mark.parametrize(("waiting", "silent_s", "is_well"), [(0, 9000, True), (1, 60, True), (3, 900, False)])
def test_an_archive_is_ill_while_changes_wait_for_it(waiting: int, silent_s: float, is_well: bool) -> None:
    archive = RepositoryState((), 0, 1, NOW, waiting=waiting, silent_s=silent_s)
    what, well, said = repository.judge(archive, Backups())[1]
    assert (what, well) == ("archive", is_well)
    assert is_well or "no change archived for 15 min: 3 files wait" in said


def test_how_backups_stand_is_read_from_one_answer() -> None:
    text = f"{info(tell())}\n{sections.MARK}\n4096\n 8192\n{int(NOW.timestamp())}\n2\n77|3600\n"
    found = repository.parse_look(text)
    assert (found.used, found.free, found.now) == (4096, 8192, NOW)
    assert (found.waiting, found.silent_s, found.began_s) == (2, 77, 3600)
    assert len(found.backups) == 1


def test_an_error_of_the_programs_is_one_line_with_their_own_hint() -> None:
    text = "WARN: x\nERROR: [055]: unable to load info file\nHINT: has a stanza-create been performed?\nHINT: other\n"
    error = repository.explain(Output(55, "", text), "the backup", "db1")
    assert error.what == "the backup failed: [055]: unable to load info file"
    assert (error.where, error.hint) == ("db1", "has a stanza-create been performed?")
    bare = repository.explain(Output(127, "", "sh: 1: pgbackrest: not found"), "the backup", "db1")
    assert (bare.what, bare.hint) == ("the backup failed: sh: 1: pgbackrest: not found", "airfleet apply installs it")


def look(mark: str, server: str = "down", request: str = ORDER.request) -> scripts.Situation:
    return scripts.parse_look(f"100\n 200\nprimary\n{server}\n{mark}\n{ORDER.name}\n{request}\n")


def test_a_restore_goes_on_only_where_its_own_data_is_in_place_and_nobody_has_written_since() -> None:
    assert look(ORDER.name).has_done(ORDER.request)
    assert not look("-").has_done(ORDER.request)
    assert not look("20200101T000000Z").has_done(ORDER.request), "the data of an earlier restore"
    assert not look(ORDER.name, "up").has_done(ORDER.request)
    assert not look(ORDER.name).has_done(replace(ORDER, to=None).request)


def test_what_earlier_restores_kept_is_known_the_newest_last() -> None:
    kept = "postgresql.before-20261123T000000Z\npostgresql.before-20261124T000000Z\n"
    found = scripts.parse_look(f"100\n 200\nprimary\ndown\n-\n{kept}")
    assert found.former[-1] == "postgresql.before-20261124T000000Z"
    assert (found.name, found.request) == ("", "")
    both = scripts.parse_look(f"100\n 200\nprimary\ndown\n{ORDER.name}\n{ORDER.name}\n{ORDER.request}\n{kept}")
    assert both.has_done(ORDER.request)
    assert len(both.former) == 2


def test_what_was_asked_for_is_not_taken_for_what_was_kept_when_an_undo_was_cut_off() -> None:
    kept = "postgresql.before-20261123T000000Z"
    undo = Order("20261124T130009Z", kept)
    found = scripts.parse_look(f"100\n 200\nprimary\ndown\n{undo.name}\n{undo.text}{kept}\n")
    assert found.has_done(undo.request)
    assert found.former == (kept,)


def test_without_a_restore_under_way_nothing_goes_on() -> None:
    found = scripts.parse_look("100\n 200\nreplica\nup\n-\n")
    assert (found.size, found.free, found.is_replica, found.name) == (100, 200, True, "")
    assert not found.has_done("")


@pytest.mark.parametrize(
    ("order", "target"),
    [
        (ORDER, "[--type=time] [--target=2026-11-24 13:00:09.000000+00] [--target-action=promote]"),
        (replace(ORDER, to=None), "[--type=default]"),
    ],
)
def test_a_moment_is_told_with_its_zone_and_the_newest_needs_none(tmp_path: Path, order: Order, target: str) -> None:
    for name, line in {"runuser": """printf '[%s] ' "$@" """, "install": ":"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    script = f"PATH={tmp_path}:$PATH\n{scripts.unpack(order).replace(str(LIB), str(tmp_path))}"
    done = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, check=True)
    assert f"[restore] [--pg1-path={tmp_path}/postgresql.restoring] [--set={order.backup}] {target} " in done.stdout
    assert (tmp_path / "restore.state").read_text() == f"{order.name}\n{order.request}\n"


def text_of(host: str, name: str, more: str = "") -> str:
    return reveal(next(file for file in desired(host, NINE + more).files if file.path.name == name).content)


def test_the_server_hands_every_change_to_the_repository_that_fleet_yaml_names() -> None:
    more = "backups: {folder: /mnt/backups, keep: 3, every_hours: 6}\n"
    config = text_of("data1", "pgbackrest.conf", more)
    assert "repo1-path=/mnt/backups\nrepo1-retention-full=3\n" in config
    assert f"archive_command = '{backups.ARCHIVE_COMMAND}'" in text_of("data1", "postgresql.conf", more)
    assert "\nEVERY_S=21600\n" in text_of("data1", "backup.sh", more)
    (folder,) = [folder for folder in desired("data1", NINE + more).folders if str(folder.path) == "/mnt/backups"]
    assert (folder.owner, folder.mode) == ("postgres", 0o700)


def test_a_host_that_was_promoted_makes_its_backup_at_once_and_tries_again_soon_after_a_failure(tmp_path: Path) -> None:
    calls, promoted = tmp_path / "calls", tmp_path / "promoted"
    promoted.touch()
    programs = {
        "psql": f'echo "psql $*" >> {calls}; echo f',
        # As on a server without a checkpoint on its timeline; then it fails once for another reason.
        "pgbackrest": f"""case "$*" in *info*) exit 0;; *stanza-create*) exit 0;; esac
            grep -q CHECKPOINT {calls} || exit 58
            echo backup >> {calls}; [ "$(grep -c ^backup {calls})" -gt 1 ]""",
        "sleep": f'echo "sleep $1" >> {calls}; [ -f {promoted} ] || kill $PPID',
    }
    for name, program in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / name).chmod(0o755)
    script = (
        text_of("data1", "backup.sh")
        .replace(str(backups.PROMOTED), str(promoted))
        .replace("/usr/bin/pgbackrest", "pgbackrest")
    )
    path = f"{tmp_path}:/usr/bin:/bin"
    subprocess.run(["bash", "-c", script], env={"PATH": path}, capture_output=True, check=False, timeout=PATIENCE_S)
    done = [line for line in calls.read_text().splitlines() if not line.startswith("psql")]
    assert done == ["backup", f"sleep {2 * backups.LOOK_EVERY_S}", "backup", f"sleep {backups.LOOK_EVERY_S}"]


@pytest.mark.parametrize(
    "script",
    [
        text_of("data1", "backup.sh"),
        repository.build_take(Backups()),
        repository.build_look(Backups()),
        scripts.build_look(),
        scripts.unpack(ORDER),
        scripts.unpack(replace(ORDER, to=None)),
        scripts.copy_former(replace(ORDER, backup="postgresql.before-20261124T000000Z", to=None)),
        scripts.fence(("airfleet-scheduler.service",)),
        scripts.fence((), is_replica=True),
        scripts.recover(ORDER, "/usr/lib/postgresql/15/bin", "/etc/x.conf", "python3.11"),
        scripts.finish(),
    ],
)
def test_every_script_is_one_that_a_shell_can_read(script: str) -> None:
    done = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_restore_stops_what_works_on_the_database_and_lets_workers_be() -> None:
    assert set(recovery.list_units(desired("sched1"))) == {
        f"airfleet-{name}.service" for name in ("scheduler", "dag-processor", "triggerer", "releaser", "agents")
    }
    assert set(recovery.list_units(desired("web1"))) == {
        f"airfleet-{name}.service" for name in ("api-server", "execution-api")
    }
    assert recovery.list_units(desired("cpu1")) == ()


def test_a_fleet_is_brought_back_by_starts_and_the_jobs_of_the_database_and_by_nothing_else() -> None:
    want = desired("data1")
    steps = diff.decide(want, HostFacts())
    kept = [step for step in steps if recovery.brings_back(step)]
    assert {step.action.service.name for step in kept if isinstance(step.action, Bring)} >= {"postgresql", "pgbouncer"}
    jobs = [step.action.job.name for step in kept if isinstance(step.action, RunJob)]
    # The last one removes what a backup from before this version of airfleet brings back.
    assert jobs == ["postgresql-roles", "postgresql-former"]
    assert all(isinstance(step.action, Bring | RunJob) for step in kept)
    assert set(scripts.JOBS) <= {job.name for host in HOSTS for part in desired(host, TWO).parts for job in part.jobs}
