"""Time commands on a platform that is up, and Airflow's own beside them on the same database, by turns.

make bench-commands                                  500 Dags, five rounds: bench/results/commands.json
make bench-commands ARGS="--files 50 --rounds 1"     a quick look

A time is from the start of the command's process to its end, as a user waits for it. Airflow's own command is that of
the environment of `make bench-stock`, with default settings and the address of the platform's database.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import releases
import support
from airfleet.runners.local.ports import find_free
from stock import stock_airflow
from support import AIRFLEET, run, say

WARNING = "[py.warnings]"
SIDES = ("airfleet", "stock")
DAG = "bench_000"
# Airflow's words, with `airfleet airflow` and with Airflow's own command. Both must print the same.
SHARED = {
    "dags list": ("dags", "list"),
    "dags list --output plain": ("dags", "list", "--output", "plain"),
    "pools list": ("pools", "list"),
    "version": ("version",),
}
# Commands that only read, and leave the platform as it is.
OWN = (
    # Airflow's own parses every file and stores all Dags, so it cannot run beside airfleet's releaser.
    ("airflow", "tasks", "list", DAG),
    ("status",),
    ("explain", DAG),
    ("alerts", "list"),
    ("access", "list"),
    ("audit", "list"),
    ("breaker", "list"),
    ("errors",),
    ("limit", "list"),
    ("release", "list"),
    ("release", "show"),
    ("secrets", "list"),
    ("sla", "list"),
    ("usage",),
)


def main() -> None:
    """Run the rounds, and write the medians and every figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with releases.project(arguments.files) as folder:
        (folder / "fleet.yaml").write_text(f"name: bench\ndags: releases\nports: {{api: {find_free()}}}\n")
        run(*AIRFLEET, "up", str(folder), "--detach")
        try:
            run(*AIRFLEET, "release", "deploy", "--project", str(folder), "--no-check")
            rounds = measure(folder, arguments.rounds)
        finally:
            run(*AIRFLEET, "down", str(folder), "--now")
    ours, theirs = ({key: statistics.median(taken) for key, taken in rounds[side].items()} for side in SIDES)
    figures = {
        "files": arguments.files,
        "tasks_per_file": releases.TASKS,
        "airfleet_s": {key: round(seconds, 3) for key, seconds in ours.items()},
        "stock_s": {key: round(seconds, 3) for key, seconds in theirs.items()},
        "ratios": {key: round(seconds / ours[f"airflow {key}"], 1) for key, seconds in theirs.items()},
        "machine": support.describe_machine(),
        "rounds_s": rounds,
    }
    support.write("commands", figures)
    print(json.dumps({key: value for key, value in figures.items() if key != "rounds_s"}, indent=2))


def measure(folder: Path, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of each command in each round: the platform's, then Airflow's own, command by command."""
    python = stock_airflow.build()
    airflow = (str(python), "-m", "airflow")
    dsn = (folder / ".airfleet" / "secrets" / "metadata_dsn").read_text()
    environment = support.stock(
        folder, python, AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=dsn.replace("postgresql://", "postgresql+psycopg2://")
    )
    found: dict[str, dict[str, list[float]]] = {side: {} for side in SIDES}

    def note(side: str, name: str, words: Sequence[str], env: Mapping[str, str] | None = None) -> str:
        begun = time.monotonic()
        done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)
        seconds = round(time.monotonic() - begun, 4)
        if done.returncode:
            raise SystemExit(f"{name} failed:\n{done.stdout}{done.stderr}")
        found[side].setdefault(name, []).append(seconds)
        return done.stdout

    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for name, words in SHARED.items():
            ours = note("airfleet", f"airflow {name}", [*AIRFLEET, "airflow", *words])
            theirs = note("stock", name, [*airflow, *words], environment)
            if drop_warnings(ours) != drop_warnings(theirs):
                raise SystemExit(f"{name} prints two things:\n{ours[:2000]}\n---\n{theirs[:2000]}")
        for words in OWN:
            note("airfleet", " ".join(words), [*AIRFLEET, *words])
    return found


def drop_warnings(text: str) -> list[str]:
    """Return the words that a command of Airflow prints after warnings, which name files of its environment."""
    _, warning, rest = text.rpartition(WARNING)
    return (rest.partition("\n")[2] if warning else rest).split()


if __name__ == "__main__":
    main()
