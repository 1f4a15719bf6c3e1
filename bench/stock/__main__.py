"""Compare airfleet and stock Airflow with the same Dags, in turns, on this machine.

make bench-stock                                                     everything: bench/results/stock.json
make bench-stock ARGS="--workloads seq40,wide --executors celery --rounds 1"     a quick look
make bench-stock ARGS="--systems stock --rounds 1 --add"             add runs to those that are there

See docs/guides/benchmarks.md for what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stock import history, measure, other_engines, own_airfleet, ratios, reference, stock_airflow
from stock.crew import say
from stock.results import Results
from stock.system import REPOSITORY, Plan, System
from stock.workloads import REFERENCE, WORKLOADS

RESULTS = REPOSITORY / "bench" / "results" / "stock.json"
SYSTEMS: Mapping[str, Callable[[Path, Plan], AbstractContextManager[System]]] = {
    ratios.STOCK: stock_airflow.run,
    ratios.OWN: own_airfleet.run,
}
EXECUTORS = ("celery", "local")


def main() -> None:
    """Run the rounds. Write every run, the medians and the ratios, and print the table."""
    arguments = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = time.monotonic()
    results = Results(arguments.output, keep=arguments.add)
    if arguments.reference:
        measure_reference(arguments, results)
        say(f"total run time {time.monotonic() - begun:.0f} s; results in {arguments.output}")
        return
    for number in range(arguments.rounds):
        for executor in arguments.executors:
            for old in (0, *((round(arguments.history * 1e6),) if arguments.history else ())):
                for name in arguments.systems:
                    plan = Plan(executor, arguments.slots, arguments.dags, old, tuple(arguments.workloads))
                    say(f"round {number + 1} of {arguments.rounds}: {name} with {executor}, {old:,} old task instances")
                    for record in run(name, plan, number):
                        results.add(record)
    if arguments.others:
        with scratch() as folder:
            for record in other_engines.measure(tuple(arguments.workloads), arguments.slots, folder):
                results.add_other(record)
    results.show()
    say(f"total run time {time.monotonic() - begun:.0f} s; results in {arguments.output}")


def parse(words: list[str]) -> argparse.Namespace:
    """Parse the command line. If it is wrong, exit with 2."""
    parser = argparse.ArgumentParser(
        prog="bench-stock", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def some_of(known: tuple[str, ...]) -> Callable[[str], list[str]]:
        def split(text: str) -> list[str]:
            names = text.split(",")
            if unknown := [name for name in names if name not in known]:
                raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is none of {', '.join(known)}")
            return names

        return split

    parser.add_argument("--workloads", type=some_of(tuple(WORKLOADS)), default=list(WORKLOADS))
    parser.add_argument("--executors", type=some_of(EXECUTORS), default=list(EXECUTORS))
    parser.add_argument("--systems", type=some_of(tuple(SYSTEMS)), default=list(SYSTEMS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--slots", type=int, default=8, help="tasks that may run at once")
    parser.add_argument("--dags", choices=("folder", "releases"), default="folder", help="fleet.yaml's `dags`")
    parser.add_argument("--history", type=float, default=0, help="also measure with so many million old task instances")
    parser.add_argument("--others", action="store_true", help="Prefect and Dagster too, on what they can express")
    parser.add_argument("--reference", action="store_true", help="the reference load in place of the workloads")
    parser.add_argument("--first", type=float, default=2, help="--reference: the first step, in times of real time")
    parser.add_argument("--seconds", type=float, default=60, help="--reference: how long a step asks for runs")
    parser.add_argument("--add", action="store_true", help="add to the runs in the results file")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args(words)


def run(name: str, plan: Plan, number: int) -> Iterator[dict[str, Any]]:
    """Yield a record of each workload on a new system."""
    with scratch() as folder, SYSTEMS[name](folder, plan) as system:
        measure.prepare(system)
        if plan.history:
            history.load(system.metadata.server_dsn, plan.history)
        for workload in plan.workloads:
            found = measure.measure(system, workload, number)
            say(
                f"  {workload}: {found['tasks']} tasks in {found['wall_s']:.1f} s, {found['tasks_per_s']:.2f}/s, "
                f"{found['cpu_s_per_task']['all']:.3f} CPU-s a task, {found['failed']} failed"
            )
            if found["failed"]:
                raise SystemExit(f"{workload} on {name}: {found['failed']} tasks failed, so its figures mean nothing")
            about = {
                key: value
                for key, value in asdict(plan).items()
                if key not in ("workloads", "reference", "dags_of", "fleet")
            }
            yield {"system": name, "workload": workload, "at": round(time.time()), **about, "figures": found}


def measure_reference(arguments: argparse.Namespace, results: Results) -> None:
    """Run the reference load on each system, faster and faster, and record every step."""
    for executor in arguments.executors:
        for name in arguments.systems:
            plan = Plan(executor, arguments.slots, arguments.dags, 0, (), reference=True)
            say(f"{name} with {executor}: {len(REFERENCE.dags)} Dags")
            with scratch() as folder, SYSTEMS[name](folder, plan) as system:
                measure.prepare(system)
                for step in reference.climb(system, first=arguments.first, seconds=arguments.seconds):
                    results.add_step({"system": name, "executor": executor, **step})
    results.show_reference()


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a folder for one system, which an unprivileged server can enter. After an error, the folder is kept."""
    folder = Path(tempfile.mkdtemp(prefix="airfleet-bench-"))
    folder.chmod(0o711)
    try:
        yield folder
    except BaseException:
        say(f"its files and logs are in {folder}")
        raise
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
