"""An upgrade of airfleet itself: code of the version before and of this one side by side on one real database.

The version before is that of the last tag; until there is one, a commit of the history. Its schedulers run from its
own tree, as they do on the hosts that an `apply` has yet to reach.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from airfleet_provider.contract.migrations import runner
from airfleet_provider.contract.migrations.runner import MigrationKind
from deadline import COMMAND_S, PATIENCE_S, wait_until
from former_version import ROOT, unpack_former
from servers import Server, serve

pytestmark = pytest.mark.local

TOY = Path("tests") / "support" / "toy_guardian.py"


@dataclass
class Schedulers:
    """Schedulers of two versions; each works in turn and writes its term into a table."""

    server: Server
    trees: dict[str, Path]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def begin(self, seat: str, version: str) -> None:
        tree = self.trees[version]
        path = os.pathsep.join(str(tree / part) for part in ("provider/src", "src", "tests/support"))
        words = [sys.executable, str(tree / TOY), f"{self.server.dsn.replace('postgres@', 'airflow@')}", seat]
        self.running[seat] = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": path})

    def wait_active(self, seat: str) -> None:
        sql = "SELECT 1 FROM airfleet.tenure JOIN ledger USING (epoch) WHERE ended_at IS NULL AND seat = %s LIMIT 1"
        wait_until(lambda: self.ask(sql, seat), f"work of {seat}")

    def wait_standby(self, seat: str) -> None:
        sql = "SELECT 1 FROM airfleet.seat WHERE name = %s AND state = 'standby'"
        wait_until(lambda: self.ask(sql, seat), f"{seat} to stand by")

    def kill(self, seat: str) -> None:
        """Kill every scheduler at once, as when a host loses its power."""
        process = self.running.pop(seat)
        process.kill()
        process.wait(PATIENCE_S)

    def ask(self, sql: str, *words: object) -> list[tuple[object, ...]]:
        with contextlib.suppress(psycopg.errors.UndefinedTable):
            return self.server.query(sql, *words)
        return []

    def end(self) -> None:
        for process in self.running.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("former")
    unpack_former(folder)
    # The toy of that time reads the one lease that there was. Every statement of the product named the scheduler's.
    toy = folder / TOY
    toy.write_text(
        re.sub(r"(SELECT epoch FROM airfleet\.lease)(?! WHERE)", r"\1 WHERE name = 'scheduler'", toy.read_text())
    )
    return folder


@pytest.fixture
def schedulers(former: Path) -> Iterator[Schedulers]:
    with serve() as server:
        server.query("CREATE ROLE airflow LOGIN SUPERUSER")
        server.query("CREATE TABLE ledger (epoch bigint, pid int, at timestamptz DEFAULT clock_timestamp())")
        server.query("ALTER TABLE ledger OWNER TO airflow")
        both = Schedulers(server, {"former": former, "new": ROOT})
        try:
            yield both
            overlaps = server.query(
                "SELECT 1 FROM (SELECT epoch, max(at) AS ended FROM ledger GROUP BY epoch) a JOIN"
                " (SELECT epoch, min(at) AS began FROM ledger GROUP BY epoch) b"
                " ON a.epoch < b.epoch AND a.ended >= b.began"
            )
            assert overlaps == [], "two schedulers worked at once"
        finally:
            both.end()


def migrate(server: Server, *kinds: MigrationKind) -> list[int]:
    with psycopg.connect(server.dsn, user="airflow", autocommit=True) as connection:
        return [one.number for one in runner.migrate(runner.execute_on(connection), runner.read_own(), kinds=kinds)]


def test_schedulers_of_both_versions_take_over_from_each_other_during_an_upgrade_and_on_the_way_back(
    schedulers: Schedulers,
) -> None:
    schedulers.begin("one", "former")
    schedulers.wait_active("one")
    schedulers.begin("two", "former")
    schedulers.wait_standby("two")
    # `apply` migrates first, then restarts the standby, and the active one last.
    migrate(schedulers.server, MigrationKind.PRE)
    schedulers.kill("two")
    schedulers.begin("two", "new")
    schedulers.wait_standby("two")
    schedulers.kill("one")
    schedulers.wait_active("two")
    # The upgrade is taken back: the former version starts on the migrated database.
    schedulers.begin("one", "former")
    schedulers.wait_standby("one")
    schedulers.kill("two")
    schedulers.wait_active("one")
    assert migrate(schedulers.server, MigrationKind.PRE) == []


def test_what_the_former_version_made_is_taken_over_with_its_rows(schedulers: Schedulers) -> None:
    schedulers.begin("one", "former")
    schedulers.wait_active("one")
    terms = schedulers.server.query("SELECT epoch, seat, taken_at FROM airfleet.tenure")
    # After the last process of the former version.
    schedulers.kill("one")
    migrate(schedulers.server, MigrationKind.PRE, MigrationKind.POST)
    applied = schedulers.server.query("SELECT number FROM airfleet.migration ORDER BY 1")
    assert [number for (number,) in applied] == [one.number for one in runner.read_own()]
    schedulers.begin("two", "new")
    schedulers.wait_active("two")
    kept = schedulers.server.query("SELECT epoch, seat, taken_at FROM airfleet.tenure")
    assert set(terms) <= set(kept)


@pytest.mark.parametrize(
    ("options", "why"),
    [(("--depth", "1"), "this clone is shallow"), ((), "")],
    ids=["a shallow clone", "a whole clone"],
)
def test_a_clone_has_the_former_version_or_says_why_it_skips(
    tmp_path: Path, options: tuple[str, ...], why: str
) -> None:
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("this is no clone of the repository")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", *options, f"file://{ROOT}", str(clone)], check=True, timeout=COMMAND_S)
    program = (
        "import sys, pathlib, former_version, pytest\n"
        f"former_version.ROOT = pathlib.Path({str(clone)!r})\n"
        "folder = pathlib.Path(sys.argv[1]); folder.mkdir()\n"
        "try: former_version.unpack_former(folder)\n"
        "except pytest.skip.Exception as reason: print(reason)\n"
        "else: print((folder / 'pyproject.toml').is_file())\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "support")}
    words = [sys.executable, "-c", program, str(tmp_path / "tree")]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=True, timeout=COMMAND_S)
    assert why in done.stdout if why else done.stdout == "True\n"
