"""What watching the platform costs, on 500 Dags and three million task instances.

make bench-observe                          bench/results/observe.json
make bench-observe ARGS="--tasks 100000"    a quick look; nothing is kept of it

What is counted. `exporter_core`: the share of one core that the agents process uses while tasks begin and end at the
rate of the reference load (50,000 a day), a scrape every 15 s included. `scrape_db_ms`: the time that PostgreSQL itself
counts for the exporter's statements, divided by the number of those scrapes. `series`: those of one scrape. The other
figures say where the time goes. The server has PostgreSQL's settings, but for `fsync`, which is
off, and 512 MB of shared buffers.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg

import shops
from airfleet.runners.local import ports
from airfleet_provider.contract import environment
from airfleet_provider.contract.statements import parse
from stock.history import without_indexes
from support import RESULTS, say, wait

SQL = parse((Path(__file__).parent / "observe.sql").read_text())
DAGS, TASKS_PER_RUN, TASKS_PER_DAY = 500, 10, 50_000
SCRAPE_EVERY_S, STEADY_S, WATCHED_S = 15.0, 40.0, 180.0
FILE = RESULTS / "observe.json"
# A line of the server's log: the program that connected, and the time of one statement.
TIMED = re.compile(r"^airfleet agents ([\w-]+)\|.*duration: ([\d.]+) ms", re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=3_000_000, help="task instances in the database")
    parser.add_argument("--dags", type=int, default=DAGS, help="Dags in the database")
    parser.add_argument("--seconds", type=float, default=WATCHED_S, help="how long the process is watched")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="airfleet-observe-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        with shops.start_postgres(
            folder, logging_collector="on", log_line_prefix="%a|", shared_buffers="512MB"
        ) as port:
            database = shops.migrate(folder, port)
            fill(database, chosen.dags, chosen.tasks)
            figures = measure(database, folder, port, chosen.dags, chosen.seconds)
    figures["dags"], figures["task_instances"] = chosen.dags, chosen.tasks
    print(json.dumps(figures, indent=2))
    if (chosen.tasks, chosen.dags) >= (3_000_000, DAGS):
        known = json.loads(FILE.read_text()) if FILE.exists() else {}
        FILE.write_text(json.dumps({**known, **figures}, indent=2) + "\n")
    else:
        say("fewer than three million task instances: bench/results/observe.json stays as it is")


def fill(database: shops.Database, dags: int, tasks: int) -> None:
    """Make Dags with runs and task instances of the last sixty days, and log rows of a part of them."""
    begun = time.monotonic()
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET maintenance_work_mem = '256MB'")
        connection.execute("SET session_replication_role = replica")  # the rows are consistent without a check
        cursor = psycopg.ClientCursor(connection)
        cursor.execute(SQL["dags"], {"dags": dags})
        runs = max(1, tasks // (dags * TASKS_PER_RUN))
        with without_indexes(connection, "task_instance"), without_indexes(connection, "dag_run"):
            cursor.execute(SQL["runs"], {"runs": runs})
            made = cursor.execute(SQL["tasks"], {"tasks": TASKS_PER_RUN}).rowcount
        connection.execute(SQL["log"] + " LIMIT 1000000")
        connection.execute("VACUUM (ANALYZE) dag, dag_run, task_instance, log")
    say(f"  {made:,} task instances in {time.monotonic() - begun:.0f} s")


def measure(database: shops.Database, folder: Path, port: int, dags: int, seconds: float) -> dict[str, Any]:
    """Start the agents process, let tasks begin and end, and scrape."""
    with run_agents(folder, port) as (process, url), psycopg.connect(database.dsn, autocommit=True) as connection:
        wait(lambda: "airfleet_database_size_bytes" in scrape(url), "all facts")
        say("  steady")
        load = Load(connection, dags)
        load.play(STEADY_S)
        log = time_statements(database)
        before, begun = process.cpu_times(), time.monotonic()
        scrapes, took = 0, []
        while time.monotonic() - begun < seconds:
            load.play(SCRAPE_EVERY_S)
            asked = time.monotonic()
            text = scrape(url)
            took.append(time.monotonic() - asked)
            scrapes += 1
        wall, after = time.monotonic() - begun, process.cpu_times()
        spent = log()
        core = (after.user + after.system - before.user - before.system) / wall
        exporter = sum(ms for loop, ms in spent.items() if loop.startswith("metrics-"))
        return {
            "exporter_core": round(core, 5),
            "scrape_db_ms": round(exporter / scrapes, 2),
            "series": sum(not line.startswith("#") for line in text.splitlines()),
            "scrape_s": round(sorted(took)[len(took) // 2], 4),
            "scrape_bytes": len(text),
            "loop_db_ms_per_scrape": {loop: round(ms / scrapes, 2) for loop, ms in sorted(spent.items())},
            "agents_rss_mib": round(process.memory_info().rss / 2**20, 1),
            "tasks_in_the_meantime": load.tasks,
        }


def time_statements(database: shops.Database) -> Any:
    """Begin to log the time of each statement; return a function that ends it and returns milliseconds by loop."""
    folder = database.query("SHOW data_directory")[0][0]

    def set_up(limit: int) -> None:
        database.query(f"ALTER SYSTEM SET log_min_duration_statement = {limit}")
        database.query("SELECT pg_reload_conf()")

    set_up(0)

    def read() -> dict[str, float]:
        set_up(-1)
        text = "".join(path.read_text(errors="replace") for path in Path(folder).glob("log/*"))
        spent: dict[str, float] = {}
        for loop, ms in TIMED.findall(text):
            spent[loop] = spent.get(loop, 0.0) + float(ms)
        return spent

    return read


class Load:
    """Runs with ten tasks that begin and end, as many in a day as in the reference load."""

    def __init__(self, connection: psycopg.Connection, dags: int) -> None:
        self._connection = connection
        self._dags = dags
        self._open: list[dict[str, Any]] = []
        self._number = 0
        self.tasks = 0
        connection.execute("SET session_replication_role = replica")

    def play(self, seconds: float) -> None:
        """Begin and end runs for so long."""
        end, every_s = time.monotonic() + seconds, TASKS_PER_RUN * 86_400 / TASKS_PER_DAY
        while time.monotonic() < end:
            self._number += 1
            words = {"dag": f"dag_{1 + self._number % self._dags:05}", "run": f"load_{self._number}"}
            self._connection.execute(SQL["begin_run"], {**words, "tasks": TASKS_PER_RUN})
            self._open.append(words)
            self.tasks += TASKS_PER_RUN
            if len(self._open) > 3:
                self._connection.execute(SQL["end_run"], self._open.pop(0))
            time.sleep(max(0.0, min(every_s, end - time.monotonic())))


@contextmanager
def run_agents(folder: Path, port: int) -> Iterator[tuple[psutil.Process, str]]:
    """Yield the agents process of this database, and the URL of its metrics."""
    place = ports.find_free()
    path = folder / "agents.json"
    queues = [f"queue_{number}" for number in range(10)]
    config = {
        "host": "bench",
        "server": {"address": "127.0.0.1", "port": place},
        "database": {"host": "127.0.0.1", "port": port, "user": "postgres", "dbname": "postgres"},
        "metrics": {
            "version": "bench",
            "queues": {"names": queues, "is_open": False},
            "workers": [{"pool": "all", "queues": queues, "slots": 64}],
        },
    }
    path.write_text(json.dumps(config))
    command = [sys.executable, "-m", "airfleet_provider.agents"]
    with (folder / "agents.log").open("w") as log:
        child = subprocess.Popen(command, env={**os.environ, environment.AGENTS: str(path)}, stderr=log)
    try:
        yield psutil.Process(child.pid), f"http://127.0.0.1:{place}/metrics"
    finally:
        child.terminate()
        child.wait(20)
        say((folder / "agents.log").read_text())


def scrape(url: str) -> str:
    """Return the text of a scrape, or "" while nothing answers."""
    with suppress(httpx.TransportError):
        return httpx.get(url, trust_env=False, timeout=30).raise_for_status().text
    return ""


if __name__ == "__main__":
    main()
