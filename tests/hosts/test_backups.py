"""The database of a fleet is restored to a moment, also if the restore is killed in the middle."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import httpx
import pytest

from deadline import wait_until
from four import AIRFLEET, DAG, LEDGER, PACKAGES, Four
from machines import Bed, why_not
from machines.image import Recipe, ensure_image

pytestmark = [pytest.mark.hosts, pytest.mark.drill]

ROLES = {
    "one": "roles: [database, broker, web, balancer, scheduler]",
    "two": "roles: [database, worker], pools: [default]",
    "three": "roles: [monitor]",  # the third that votes
}
SQL = "cd /; sudo -u postgres psql -XAtq -v ON_ERROR_STOP=1 -h /run/postgresql"


@dataclass
class Two(Four):
    """A fleet whose second machine holds the replica and runs the tasks, and whose third has etcd."""

    def write(self, more: str = "") -> None:
        (self.folder / "dags").mkdir(exist_ok=True)
        (self.folder / "dags" / "sleeper.py").write_text(DAG)
        hosts = "".join(f"  {name}: {{address: {self.bed[name].address}, {roles}}}\n" for name, roles in ROLES.items())
        (self.folder / "fleet.yaml").write_text(
            f"name: two\nssh: {{user: ops, key: {self.bed.layout.key}, known_hosts: {self.bed.layout.known_hosts}}}\n"
            f"hosts:\n{hosts}pools:\n  default: {{concurrency: 4}}\nbackups: {{keep: 2}}\ndatabases: [warehouse]\n"
            f"{more}"
        )

    @property
    def url(self) -> str:
        return f"http://{self.bed['one'].address}:8080"

    def ledger(self) -> tuple[int, int]:
        words = self.bed["two"].run(f"sudo cat {LEDGER} 2>/dev/null || true").stdout.split()
        return words.count("began"), words.count("ended")

    def ask(self, host: str, database: str, sql: str) -> str:
        return str(self.bed[host].run(f'{SQL} {database} -c "{sql}"').stdout.strip())

    def now(self) -> str:
        """Return the present time of the database, in UTC."""
        return self.ask("one", "postgres", "SELECT clock_timestamp() AT TIME ZONE 'UTC'")

    def backups(self) -> list[dict[str, object]]:
        listed: list[dict[str, object]] = json.loads(self.do("db", "backups", "--json"))
        return listed

    def is_known(self, run: str) -> bool:
        try:
            return bool(self.state(run))
        except httpx.HTTPStatusError as error:
            assert error.response.status_code == 404
            return False


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    if reason := why_not():
        pytest.skip(f"no machines can run here: {reason}")
    with Bed.create(list(ROLES), image=ensure_image(Recipe(fetched=PACKAGES))) as bed:
        bed.wait_ready()
        made = Two(tmp_path_factory.mktemp("two"), bed)
        made.write()
        made.do("apply")
        made.do("release", "deploy", "-m", "first")
        wait_until(made.backups, "the first backup, which nobody asked for", every_s=2)
        yield made


def is_whole(two: Two) -> None:
    """Return whether both databases work, the second replicates the first, and no change is left to apply."""
    assert two.ask("one", "postgres", "SELECT pg_is_in_recovery()") == "f"
    assert two.ask("two", "postgres", "SELECT pg_is_in_recovery()") == "t"
    following = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
    wait_until(lambda: two.ask("one", "postgres", following) == "1", "the replica follows", every_s=1)
    assert two.run("plan", "--check").returncode == 0
    assert "failed" not in two.bed["one"].run("systemctl list-units --failed 'airfleet-*' --no-legend").stdout


def test_a_fleet_makes_a_backup_when_asked_and_keeps_as_many_as_it_says(two: Two) -> None:
    for _ in range(2):
        two.do("db", "backup")
    assert len(two.backups()) == 2
    said = two.do("status")
    assert "ok  backups: 2, the newest 0 min old" in said
    assert "ok  archive: every change is archived" in said
    folder = two.bed["one"].run("sudo stat -c '%a %U' /var/lib/airfleet/backups").stdout
    assert folder.strip() == "700 postgres"


def test_what_was_dropped_is_there_again_and_what_came_later_is_undone(two: Two) -> None:
    two.wait(before := [two.trigger(0.1) for _ in range(3)])
    two.ask("one", "warehouse", "CREATE TABLE sales (n int); INSERT INTO sales VALUES (7)")
    two.do("db", "backup")
    two.ask("one", "warehouse", "INSERT INTO sales VALUES (8)")
    long = two.trigger(90)
    began = two.ledger()[0]
    wait_until(lambda: two.ledger()[0] > began or two.state(long) == "running", "a task that runs")
    wait_until(lambda: two.ledger()[0] - two.ledger()[1] == 1, "its attempt")
    moment = two.now()
    after = two.trigger(0.1)
    two.wait([after])
    two.ask("one", "warehouse", "DROP TABLE sales")

    refused = two.run("db", "restore", "--to", moment)
    assert refused.returncode == 2, "nobody was there to confirm"
    assert two.is_known(after)
    done = json.loads(two.do("db", "restore", "--to", moment, "--yes", "--json"))
    print(f"the fleet was stopped for {done['stopped_s']} s")

    assert two.ask("one", "warehouse", "SELECT n FROM sales ORDER BY n").split() == ["7", "8"]
    assert [two.state(run) for run in before] == ["success"] * 3
    assert not two.is_known(after)
    is_whole(two)
    assert two.ask("two", "warehouse", "SELECT count(*) FROM sales") == "2", "the replica is of the restored data"
    two.wait([long])
    two.wait([two.trigger(0.1)])
    kept = two.bed["one"].run(f"sudo cat {done['kept']}/PG_VERSION").stdout
    assert kept.strip(), "the former data is aside"


def test_a_restore_that_is_killed_anywhere_is_undone_by_apply_or_ended_by_the_next_call(two: Two) -> None:
    two.ask("one", "warehouse", "CREATE TABLE mark (n int); INSERT INTO mark VALUES (1)")
    moment = two.now()
    two.ask("one", "warehouse", "INSERT INTO mark VALUES (2)")
    kill_at(two, moment, "stopping schedulers")
    two.do("apply")
    assert two.ask("one", "warehouse", "SELECT count(*) FROM mark") in ("1", "2"), "one whole state or the other"
    is_whole(two)
    kill_at(two, moment, "bringing the fleet back")
    two.do("db", "restore", "--to", moment, "--yes")
    assert two.ask("one", "warehouse", "SELECT n FROM mark") == "1"
    is_whole(two)
    assert two.bed["one"].run("ls -d /var/lib/airfleet/postgresql.restoring", check=False).stdout == ""
    two.wait([two.trigger(0.1)])


def test_a_restore_is_undone_and_the_archive_leads_on_from_there(two: Two) -> None:
    two.ask("one", "warehouse", "CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)")
    moment = two.now()
    two.ask("one", "warehouse", "INSERT INTO kept VALUES (2)")
    two.do("db", "restore", "--to", moment, "--yes")
    assert two.ask("one", "warehouse", "SELECT count(*) FROM kept") == "1"
    two.do("db", "restore", "--undo", "--yes")
    assert two.ask("one", "warehouse", "SELECT count(*) FROM kept") == "2"
    is_whole(two)
    two.do("db", "backup")
    two.ask("one", "warehouse", "INSERT INTO kept VALUES (3)")
    two.do("db", "restore", "--to", "latest", "--yes")
    assert two.ask("one", "warehouse", "SELECT count(*) FROM kept") == "3"
    is_whole(two)
    two.wait([two.trigger(0.1)])


def test_a_moment_that_cannot_be_reached_changes_nothing(two: Two) -> None:
    refused = two.run("db", "restore", "--to", "2020-01-01", "--yes")
    assert refused.returncode == 2
    assert "no backup had ended by" in refused.stderr
    refused = two.run("db", "restore", "--to", "2999-01-01", "--yes")
    assert refused.returncode == 2
    is_whole(two)


def kill_at(two: Two, moment: str, word: str) -> None:
    """Kill a restore as soon as it prints this word."""
    process = subprocess.Popen(
        [*AIRFLEET, "db", "restore", "--to", moment, "--yes"], cwd=two.folder, stderr=subprocess.PIPE, text=True
    )
    with process, suppress(ProcessLookupError):
        assert process.stderr is not None
        assert any(word in line for line in process.stderr)
        process.send_signal(signal.SIGKILL)
