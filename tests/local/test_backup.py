"""A server's data is restored to a moment, and a kill during the restore leaves the old data or the new data."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from airfleet.components.postgresql import embedded
from airfleet.errors import AirfleetError
from airfleet.operations.backup import catalogue
from airfleet.operations.backup.embedded.cluster import Cluster
from airfleet.operations.backup.embedded.restore import restore
from airfleet.operations.backup.embedded.store import BASE, DESCRIPTION, Store
from airfleet.operations.backup.embedded.take import prune, take
from airfleet.runners.local import launch
from airfleet.spec.secrets import Secret
from deadline import wait_until
from fleets import Platform
from servers import Server, serve

pytestmark = pytest.mark.local

RESTORE = """
import sys
from pathlib import Path
from airfleet.operations.backup import catalogue
from airfleet.operations.backup.embedded.cluster import Cluster
from airfleet.operations.backup.embedded.restore import restore
from airfleet.operations.backup.embedded.store import Store
from airfleet.spec.secrets import Secret
data, binaries, backups = map(Path, sys.argv[1:])
cluster = Cluster(data, binaries, backups, Secret("x"))
chosen = catalogue.choose(Store(backups).list(), name=None, to=None)
restore(cluster, chosen, to=None, notify=lambda text: print(text, flush=True))
"""


class Place:
    """A server with archived WAL, and its backups, in a folder whose name must be quoted."""

    def __init__(self, server: Server) -> None:
        self.server = server
        root = server.folder.parent
        self.cluster = Cluster(server.folder, launch.find_postgres(), root / "100% back'ups", Secret("x"))
        self.begin()
        server.query("CREATE TABLE IF NOT EXISTS note (n int)")

    def begin(self) -> None:
        self.server.start(
            *(f"--{key}={value}" for key, value in embedded.archive_options(self.cluster.backups).items())
        )

    def write(self, number: int) -> datetime:
        """Write a number and return a moment after it, before any later number."""
        self.server.query("INSERT INTO note VALUES (%s)", number)
        return self.server.query("SELECT clock_timestamp()")[0][0]

    def read(self) -> list[int]:
        return [row[0] for row in self.server.query("SELECT n FROM note ORDER BY n")]

    def take(self, keep: int = 3) -> catalogue.Backup:
        return take(self.cluster, self.server.port, airflow="3.3.2", keep=keep, notify=lambda _: None)

    def restore(self, to: datetime | None = None) -> Path:
        chosen = catalogue.choose(Store(self.cluster.backups).list(), name=None, to=to)
        return restore(self.cluster, chosen, to=to, notify=lambda _: None).kept


@pytest.fixture
def place() -> Iterator[Place]:
    with serve() as server:
        server.stop()
        yield Place(server)


def test_the_data_is_as_it_was_at_a_moment_again_and_again(place: Place) -> None:
    place.write(1)
    place.take()
    second = place.write(2)
    place.write(3)
    place.server.stop()
    kept = place.restore(second)
    place.begin()
    assert place.read() == [1, 2]
    assert (kept / "PG_VERSION").exists()
    # What was written after a restore is on another time line, and can be reached too.
    fourth = place.write(4)
    place.write(5)
    place.server.stop()
    place.restore(fourth)
    place.begin()
    assert place.read() == [1, 2, 4]
    # Without a moment it is the end, to the last change before the server stopped.
    place.write(6)
    place.server.stop()
    place.restore()
    place.begin()
    assert place.read() == [1, 2, 4, 6]


def test_a_moment_that_never_came_changes_nothing(place: Place) -> None:
    place.write(1)
    place.take()
    place.server.stop()
    with pytest.raises(AirfleetError, match="could not recover to that moment"):
        place.restore(datetime(2100, 1, 1, tzinfo=UTC))
    place.begin()
    assert place.read() == [1]


def test_a_damaged_backup_is_not_restored(place: Place) -> None:
    made = place.take()
    place.server.stop()
    base = Store(place.cluster.backups).folder(made) / BASE
    body = bytearray(base.read_bytes())
    body[len(body) // 2] ^= 1
    base.write_bytes(body)
    with pytest.raises(AirfleetError, match="the backup is damaged"):
        place.restore()
    place.begin()
    assert place.read() == []


def test_only_the_newest_backups_and_what_leads_on_from_them_are_kept(place: Place) -> None:
    first = place.take(keep=1)
    place.server.query("SELECT pg_switch_wal()")
    wait_until((place.cluster.wal / f"{first.first_segment}.gz").exists, "the archive")
    wait_until(lambda: datetime.now(UTC).strftime(catalogue.STAMP) != first.name, "another second")
    second = place.take(keep=1)
    assert Store(place.cluster.backups).list() == [second]
    assert not (place.cluster.wal / f"{first.first_segment}.gz").exists()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the server's user may enter, unlike pytest's own folders."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Path(name)


def test_changes_that_lead_on_from_no_backup_go_and_time_lines_stay(folder: Path) -> None:
    cluster = Cluster(folder / "data", launch.find_postgres(), folder / "100% back'ups", Secret("x"))
    store = Store(cluster.backups)
    cluster.wal.mkdir(parents=True)
    cluster.own(cluster.wal)
    for day, segment in ((1, 2), (2, 4), (3, 6)):
        began = datetime(2026, 11, day, tzinfo=UTC)
        name = began.strftime(catalogue.STAMP)
        made = catalogue.Backup(name, began, began + timedelta(minutes=5), f"{1:08X}{segment:016X}", 1, "18.4")
        store.folder(made).mkdir()
        (store.folder(made) / DESCRIPTION).write_text(made.to_json())
    old = [f"{1:08X}{number:016X}.gz" for number in range(4)]
    old += [f"{1:08X}{2:016X}.00000028.backup.gz", f"{1:08X}{3:016X}.partial.gz", f"{2:08X}{3:016X}.gz"]
    kept = [f"{1:08X}{number:016X}.gz" for number in range(4, 8)]
    kept += [f"{2:08X}{4:016X}.gz", "00000002.history.gz", "notes"]
    for name in (*old, *kept):
        (cluster.wal / name).touch()
    prune(cluster, store, keep=2)
    assert len(store.list()) == 2
    assert sorted(path.name for path in cluster.wal.iterdir()) == sorted(kept)


def test_a_restore_that_is_killed_leaves_the_old_data_or_the_new(place: Place) -> None:
    place.write(1)
    place.take()
    place.write(2)
    place.server.stop()
    words = [str(place.cluster.data), str(place.cluster.binaries), str(place.cluster.backups)]
    for stage in ("saving", "unpacking", "recovering", ""):
        with subprocess.Popen([sys.executable, "-c", RESTORE, *words], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout
            for line in child.stdout:
                if stage and line.startswith(stage):
                    os.kill(child.pid, signal.SIGKILL)
        wait_until(lambda: not list(place.cluster.data.parent.glob("*/postmaster.pid")), "the end of its server")
        place.begin()
        assert place.read() == [1, 2], f"killed while {stage}"
        place.server.stop()
    place.restore()
    assert not list(place.cluster.data.parent.glob("*.restoring*"))


def test_a_platform_goes_back_to_before_a_mistake(platform: Platform) -> None:
    first = platform.trigger("quick")
    assert platform.wait_run("quick", first) == "success"
    made = json.loads(platform.airfleet("db", "backup", "--json").stdout)
    second = platform.trigger("quick")
    assert platform.wait_run("quick", second) == "success"
    moment = datetime.now(UTC)
    wait_until(lambda: (datetime.now(UTC) - moment).total_seconds() > 1, "a second")
    third = platform.trigger("quick")
    assert platform.wait_run("quick", third) == "success"
    refused = platform.airfleet("db", "restore", "--yes", check=False)
    assert (refused.returncode, "already up here" in refused.stderr) == (1, True)
    platform.down()
    refused = platform.airfleet("db", "restore", "--to", moment.isoformat(), check=False)
    assert (refused.returncode, "say --yes" in refused.stderr) == (2, True)
    assert "Everything later is undone" in refused.stderr
    done = json.loads(platform.airfleet("db", "restore", "--to", moment.isoformat(), "--yes", "--json").stdout)
    assert (done["backup"], Path(done["kept"]).is_dir()) == (made["name"], True)
    platform.up()
    runs = {run["dag_run_id"] for run in platform.call("GET", "/dags/quick/dagRuns?limit=100")["dag_runs"]}
    assert {first, second} <= runs
    assert third not in runs
    assert platform.succeeds("quick")
    wait_until(platform.is_healthy, "health")
