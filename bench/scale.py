"""What a circuit breaker saves: a service is away for a while under many tasks, on a real platform.

make bench-scale                                     500 tasks, ten minutes: keys of bench/results/scale.json
make bench-scale ARGS="--tasks 60 --away 60"         a quick look; nothing is kept of it
make bench-scale ARGS="--away 300"                   all tasks, a shorter outage

`breaker_retries_burnt` counts the tries beyond the first of all tasks, `breaker_failures` the tasks that did not
succeed, and `breaker_done_s` the seconds from the return of the service until the last task has succeeded.
`breaker_starts_while_away` counts how often a task was started in vain. `bystander_s` is the longest time that one of
the tasks of another Dag, which needs no service, took from ready to its end meanwhile. `breaker_events` is the time
line: the seconds since the breaker opened first, its state, how many tasks may run at once, and why.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg

from support import AIRFLEET, RESULTS, project, run, say, wait

DAGS = 10
# The bar is about so many tasks; a shorter outage is a figure of its own (`breaker_away_s`).
BAR_TASKS = 500
FLEET = """
name: scale
parallelism: 8
breakers:
  crm:
    dag: crm_.*
"""
CALLER = """
from datetime import timedelta
from urllib.request import urlopen

from airflow.sdk import dag, task


@dag(dag_id="crm_{number}", schedule=None, max_active_tasks=1000)
def crm():
    @task(retries=3, retry_delay=timedelta(seconds=5))
    def call(number: int) -> int:
        with urlopen("http://127.0.0.1:{port}/", timeout=10) as answer:
            return answer.status

    call.expand(number=list(range({tasks})))


crm()
"""
BYSTANDER = """
from datetime import timedelta

from airflow.sdk import dag, task


@dag(dag_id="bystander", schedule=timedelta(seconds=10), catchup=False, max_active_runs=1)
def bystander():
    @task
    def work() -> None:
        pass

    work()


bystander()
"""
COUNTS = """
SELECT count(*) FILTER (WHERE state = 'success') AS done, count(*) FILTER (WHERE state IN ('failed', 'upstream_failed'))
    AS failed, coalesce(sum(greatest(try_number, 1) - 1), 0)::int AS burnt, count(*) AS tasks,
    count(*) FILTER (WHERE state IN ('queued', 'running')) AS in_slots
FROM task_instance WHERE dag_id LIKE 'crm_%' AND map_index >= 0
"""
STARTS = "SELECT count(*) FROM task_reschedule"
BYSTANDERS = """
SELECT coalesce(max(extract(epoch FROM end_date - scheduled_dttm)), 0)::float, count(*)
FROM task_instance WHERE dag_id = 'bystander' AND state = 'success'
"""
LINE = "SELECT happened_at, state, wave, reason FROM airfleet.breaker_event WHERE breaker = 'crm' ORDER BY id"


class Service:
    """A service on the loopback that can go away and come back. While it is away, connections are refused."""

    def __init__(self) -> None:
        self._server = self._start(0)
        self.port = self._server.server_address[1]

    def _start(self, port: int) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", port), Answers)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    def stop(self) -> None:
        """Refuse connections."""
        self._server.shutdown()
        self._server.server_close()

    def start(self) -> None:
        """Answer again at the same port."""
        self._server = self._start(self.port)


class Answers(BaseHTTPRequestHandler):
    """Answers every request, after a moment."""

    def do_GET(self) -> None:
        time.sleep(0.05)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Write nothing."""


@contextmanager
def platform(folder: Path) -> Iterator[psycopg.Connection[Any]]:
    """Run the platform of a project, and yield a connection to its database."""
    run(*AIRFLEET, "up", str(folder), "--detach")
    try:
        dsn = (folder / ".airfleet" / "secrets" / "metadata_dsn").read_text().strip()
        with psycopg.connect(dsn, autocommit=True) as connection:
            yield connection
    finally:
        run(*AIRFLEET, "down", str(folder))


def measure(tasks: int, away_s: float) -> dict[str, Any]:
    """Return the figures for so many tasks and such an outage."""
    service = Service()
    each = tasks // DAGS
    with project() as folder:
        (folder / "fleet.yaml").write_text(FLEET)
        for number in range(DAGS):
            text = CALLER.format(number=number, port=service.port, tasks=each)
            (folder / "dags" / f"crm_{number}.py").write_text(text)
        (folder / "dags" / "bystander.py").write_text(BYSTANDER)
        service.stop()
        with platform(folder) as connection:
            return watch(connection, folder, service, each * DAGS, away_s)


def watch(connection: Any, folder: Path, service: Service, tasks: int, away_s: float) -> dict[str, Any]:
    """Trigger all Dags while the service is away, bring it back, and wait for the end."""

    def read(statement: str) -> tuple[Any, ...]:
        found: tuple[Any, ...] = connection.execute(statement).fetchone()
        return found

    names = [f"crm_{number}" for number in range(DAGS)]
    wait(lambda: read("SELECT count(*) FROM dag WHERE NOT is_stale")[0] > DAGS, "the Dags")
    for name in (*names, "bystander"):
        run(*AIRFLEET, "airflow", "--project", str(folder), "dags", "unpause", name)
    for name in names:
        run(*AIRFLEET, "airflow", "--project", str(folder), "dags", "trigger", name)
    wait(lambda: read("SELECT count(*) FROM airfleet.breaker WHERE state <> 'closed'")[0] > 0, "the breaker to open")
    began = time.monotonic()
    most_in_slots = 0
    say(f"the breaker is open; the service stays away for {away_s:.0f} s")
    while time.monotonic() - began < away_s:
        time.sleep(1.0)
        if time.monotonic() - began > 10:
            most_in_slots = max(most_in_slots, read(COUNTS)[4])
    starts = read(STARTS)[0]
    slowest, bystanders = read(BYSTANDERS)
    service.start()
    back = time.monotonic()
    wait(lambda: read(COUNTS)[0] + read(COUNTS)[1] >= tasks, "the tasks")
    done_s = time.monotonic() - back
    done, failed, burnt, total, _ = read(COUNTS)
    rows = connection.execute(LINE).fetchall()
    events = [
        {"at_s": round((moment - rows[0][0]).total_seconds(), 1), "state": state, "wave": wave, "reason": reason}
        for moment, state, wave, reason in rows
    ]
    for one in events:
        say(f"{one['at_s']:7.1f} s  {one['state']} {one['wave'] or ''}: {one['reason']}")
    return {
        "breaker_tasks": total,
        "breaker_away_s": away_s,
        "breaker_retries_burnt": burnt,
        "breaker_failures": failed + (total - done - failed),
        "breaker_done_s": round(done_s, 1),
        "breaker_starts_while_away": starts,
        "breaker_most_in_slots": most_in_slots,
        "bystanders": bystanders,
        "bystander_s": round(slowest, 1),
        "breaker_events": events,
    }


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=BAR_TASKS)
    parser.add_argument("--away", type=float, default=600.0)
    wanted = parser.parse_args()
    figures = measure(wanted.tasks, wanted.away)
    print(json.dumps(figures, indent=2))
    if wanted.tasks >= BAR_TASKS:
        path = RESULTS / "scale.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
