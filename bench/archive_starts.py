"""Task starts of a platform on this machine while its archive works, and while it does not: keys of data.json.

make bench-archive-starts                        six turns of each: keys `start_*` of bench/results/data.json
make bench-archive-starts ARGS="--turns 1"       a quick look; nothing is kept of it

The platform is airfleet with Celery and eight slots, and has 320,000 old task instances with their runs, XComs and log
rows. A run of ten tasks in a row begins every two seconds: eight times the floor of 50,000 tasks a day. In half of the
turns `airfleet db archive run` works, with the rests that `archive.pause` of fleet.yaml has by default. Such a turn is
as long as the command, some seconds more than it archives. A task may run when the one before it has ended; its start
takes from there to its first line of code. `start_p95_ratio` is the 95th percentile of the starts while the archive
works, divided by the one of the others.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil
import psycopg

import old_runs
from airfleet.spec.fleet import Archive
from stock import figures, measure, own_airfleet
from stock.__main__ import scratch
from stock.system import Plan, System
from stock.workloads import WORKLOADS
from support import RESULTS, say, write

CHAIN = WORKLOADS["chain"]
SLOTS = 8
TURN_S, EVERY_S = 20.0, 2.0
OLD_DAGS, RUNS, TASKS = 80, 401, 10
PERCENT = 95


@dataclass(frozen=True)
class Turn:
    """A turn lasts as long as the archiver works, or until a moment."""

    until: float = 0.0
    archiver: subprocess.Popen[str] | None = None

    def is_on(self) -> bool:
        return self.archiver.poll() is None if self.archiver else time.monotonic() < self.until


def main() -> None:
    """Measure in turns, print the figures, and add them to those of `bench/data.py`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=6, help="turns with the archive, and as many without")
    chosen = parser.parse_args()
    plan = Plan("celery", SLOTS, "folder", 0, (CHAIN.name,))
    with scratch() as folder, own_airfleet.run(folder, plan) as system:
        fill(system)
        measure.prepare(system)
        found = take_turns(system, chosen.turns)
    print(json.dumps(found, indent=2))
    if chosen.turns < 2:
        say("one turn: bench/results/data.json stays as it is")
        return
    known: dict[str, Any] = json.loads((RESULTS / "data.json").read_text())
    write("data", {**known, **found})


def fill(system: System) -> None:
    """Add the old runs, as the platform's own have become after months."""
    begun = time.monotonic()
    server = system.metadata.server_dsn
    with psycopg.connect(server, dbname="airflow", autocommit=True) as connection:

        def run(statement: str) -> list[tuple[Any, ...]]:
            connection.execute(statement.encode())
            return []

        connection.execute("SET synchronous_commit = off")
        for number in range(OLD_DAGS):
            old_runs.make_dag(run, f"old_{number:03}", runs=RUNS, tasks=TASKS, hours=120 * 24, rare=False)
        connection.execute("VACUUM ANALYZE")
    say(f"made {OLD_DAGS * RUNS * TASKS:,} old task instances in {time.monotonic() - begun:.0f} s")


def take_turns(system: System, turns: int) -> dict[str, Any]:
    """Return the figures of turns with and without the archive. Who begins changes."""
    starts: dict[bool, list[float]] = {True: [], False: []}
    archived, load = 0, psutil.getloadavg()[0]
    for number in range(turns):
        for works in (True, False) if number % 2 else (False, True):
            name = f"turn_{number}_{'archive' if works else 'alone'}"
            if not works:
                starts[False] += start_tasks(system, name, Turn(time.monotonic() + TURN_S).is_on)
                continue
            with archive(system) as archiver:
                starts[True] += start_tasks(system, name, Turn(archiver=archiver).is_on)
                told = json.loads(archiver.communicate()[0])
            assert not archiver.returncode, archiver.returncode
            archived += told["task_instances"]
        say(f"turn {number + 1} of {turns}: {archived:,} task instances archived")
    alone, beside = (find_percentile(starts[works]) for works in (False, True))
    return {
        "start_p95_ms": round(alone * 1000, 1),
        "start_p95_while_archiving_ms": round(beside * 1000, 1),
        "start_p95_ratio": round(beside / alone, 3),
        "starts": {"alone": len(starts[False]), "while_archiving": len(starts[True])},
        "starts_archived": archived,
        "starts_pause": Archive().pause,
        "starts_load": round(load, 1),
    }


def archive(system: System) -> subprocess.Popen[str]:
    """Start `airfleet db archive run` for a turn. It archives for `TURN_S`; its own start and end come on top."""
    words = [*own_airfleet.AIRFLEET, "db", "archive", "run", "--project", str(system.state.parent / "project")]
    words += ["--state", str(system.state), "--budget", str(round(TURN_S)), "--json"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=sys.stderr, text=True)


def start_tasks(system: System, name: str, is_on: Callable[[], bool]) -> list[float]:
    """Begin runs as long as the turn lasts, and return the seconds of each start of a task, once all have ended."""
    runs: list[str] = []
    begun = time.monotonic()
    while is_on():
        run = f"{name}_{len(runs)}"
        system.rest.trigger(CHAIN.dags[len(runs) % len(CHAIN.dags)], run)
        runs.append(run)
        time.sleep(max(0.0, begun + len(runs) * EVERY_S - time.monotonic()))
    measure.wait_for_runs(system, CHAIN, runs)
    metadata = system.metadata
    instances, done = metadata.read_instances(CHAIN.dags, runs), metadata.read_runs(CHAIN.dags, runs)
    failed = [one for one in instances if one.state != "success"]
    assert not failed, failed[:3]
    return figures.measure_phases(instances, done, metadata.read_upstream(CHAIN.dags))["may_run_running"]


def find_percentile(values: list[float]) -> float:
    found = figures.percentile(values, PERCENT)
    assert found is not None
    return found


if __name__ == "__main__":
    main()
