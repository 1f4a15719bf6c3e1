"""Run the whole project once: start the platform, deliver a year of files, wait for the report, print what came out.

    make demo                  or, in an environment with airfleet: python examples/flights/demo.py
    make demo ARGS=--json      the same figures as JSON on stdout

Exits with 0 only if every run succeeded and every delivered row is accounted for. Run again, it runs every month again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

PROJECT = Path(__file__).resolve().parent
STATE = PROJECT / ".airfleet"
REPORT_FOLDER = STATE / "flights" / "report"
AIRFLEET = [sys.executable, "-m", "airfleet"]
INGEST, MARTS, REPORT = "flights_ingest", "flights_marts", "flights_report"
ROWS = 336_776
MONTHS = 12
PATIENCE_S = 900.0
UNFINISHED = ("queued", "running")

Json = dict[str, Any]
console = Console(stderr=True)


class DemoError(Exception):
    """What went wrong, for a person."""


@dataclass(frozen=True)
class Outcome:
    """What one run of the demo has to show."""

    url: str
    report: Path
    summary: Json
    seconds: dict[str, float]
    again: bool

    @property
    def is_complete(self) -> bool:
        """Whether every row that was delivered is loaded or quarantined."""
        return bool(self.summary["loaded"] + self.summary["quarantined"] == ROWS)

    def to_json(self) -> Json:
        return {
            "complete": self.is_complete,
            "expected_rows": ROWS,
            **self.summary,
            "seconds": {stage: round(seconds, 1) for stage, seconds in self.seconds.items()},
            "report": str(self.report),
            "url": self.url,
            "ran_again": self.again,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON on stdout")
    parser.add_argument("--port", type=int, help="the port of the UI, in place of fleet.yaml's")
    arguments = parser.parse_args()
    try:
        outcome = run(arguments.port)
    except (DemoError, httpx.HTTPError) as error:
        console.print(f"demo: {error}", style="red", highlight=False)
        sys.exit(1)
    if arguments.json:
        print(json.dumps(outcome.to_json(), indent=2))
    else:
        show(outcome)
    sys.exit(0 if outcome.is_complete else 1)


def run(port: int | None) -> Outcome:
    """Bring everything up, run the project to its end, and return the figures; raises DemoError for a failed run."""
    seconds: dict[str, float] = {}
    begun = time.monotonic()
    with timed(seconds, "up"):
        url = start_platform(port)
    with timed(seconds, "feed"):
        deliver_files(STATE / "flights" / "landing")
    with log_in(url, (STATE / "secrets" / "admin_password").read_text()) as api:
        again = prepare_runs(api)
        with timed(seconds, "pipeline"):
            wait_for_runs(api, read_summary)
        seconds |= measure_stages(api)
    seconds["total"] = time.monotonic() - begun
    return Outcome(url, REPORT_FOLDER / "index.html", read_summary(), seconds, again)


def start_platform(port: int | None) -> str:
    """The address of the platform of this project, started if it is not up."""
    status = subprocess.run([*AIRFLEET, "status", str(PROJECT), "--json"], capture_output=True, text=True, check=False)
    if status.returncode:
        flags = ["--port", str(port)] if port else []
        if subprocess.run([*AIRFLEET, "up", str(PROJECT), "--detach", *flags], check=False).returncode:
            raise DemoError("the platform did not start; what it said is above")
        status = subprocess.run(
            [*AIRFLEET, "status", str(PROJECT), "--json"], capture_output=True, text=True, check=True
        )
    return str(json.loads(status.stdout)["url"])


def deliver_files(landing: Path) -> None:
    """Put the airline's files for the whole year where the sensors look for them."""
    landing.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "include.feed", "--out", str(landing)], cwd=PROJECT, stdout=sys.stderr, check=False
    )
    if done.returncode:
        raise DemoError("the feed could not be written; is requirements.txt installed?")


def log_in(url: str, password: str) -> httpx.Client:
    """A client of the REST API, as the admin."""
    reply = httpx.post(f"{url}/auth/token", json={"username": "admin", "password": password}, timeout=60)
    reply.raise_for_status()
    token = reply.json()["access_token"]
    return httpx.Client(base_url=f"{url}/api/v2", headers={"Authorization": f"Bearer {token}"}, timeout=60)


def prepare_runs(api: httpx.Client) -> bool:
    """See that each month will run from now on; whether they had already run before."""
    wait_until(lambda: all(api.get(f"/dags/{dag}").is_success for dag in (REPORT, MARTS, INGEST)), "the Dags to appear")
    finished = [run for run in list_runs(api, INGEST) if run["state"] not in UNFINISHED]
    for run in finished:
        path = f"/dags/{INGEST}/clearTaskInstances"
        body = {"dag_run_id": run["dag_run_id"], "dry_run": False, "only_failed": False, "reset_dag_runs": True}
        api.post(path, json=body).raise_for_status()
    # From the last to the first, so that no event passes a Dag that still sleeps.
    for dag in (REPORT, MARTS, INGEST):
        api.patch(f"/dags/{dag}", json={"is_paused": False}).raise_for_status()
    return bool(finished)


def wait_for_runs(api: httpx.Client, read_report: Callable[[], Json]) -> None:
    """Return when all months are loaded and marts and report have seen them; raises DemoError for any failed run."""
    columns = (TextColumn("{task.description:<16}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bars = {dag: progress.add_task(dag, total=total) for dag, total in ((INGEST, MONTHS), (MARTS, 1), (REPORT, 1))}

        def is_finished() -> bool:
            runs = {dag: list_runs(api, dag) for dag in bars}
            for dag, bar in bars.items():
                states = Counter(run["state"] for run in runs[dag])
                if states["failed"]:
                    raise DemoError(f"{states['failed']} run(s) of {dag} failed: {api.base_url.copy_with(path='/')}")
                progress.update(
                    bar, completed=states["success"], total=max(MONTHS if dag == INGEST else 1, len(runs[dag]))
                )
            return is_over(*runs.values()) and find_settled(api) == read_report().get("settled_at")

        wait_until(is_finished, "the runs to end", every=1.0)


def is_over(ingest: list[Json], marts: list[Json], report: list[Json]) -> bool:
    """Whether every month has run, the other two as well, and nothing is on its way."""
    runs = [*ingest, *marts, *report]
    return len(ingest) >= MONTHS and bool(marts and report) and all(run["state"] not in UNFINISHED for run in runs)


def find_settled(api: httpx.Client) -> str:
    """When the newest month was settled, as the report says it once it has seen that month."""
    reply = api.get("/assets/events", params={"source_dag_id": INGEST, "limit": 100, "order_by": "-timestamp"})
    reply.raise_for_status()
    return max(str(event["extra"]["settled_at"]) for event in reply.json()["asset_events"])


def read_summary() -> Json:
    """What the report says in figures; nothing while there is none."""
    path = REPORT_FOLDER / "summary.json"
    summary: Json = json.loads(path.read_text()) if path.exists() else {}
    return summary


def measure_stages(api: httpx.Client) -> dict[str, float]:
    """Seconds from the first start to the last end of each Dag's runs since the ingest began; they overlap."""
    begun = min(parse(run["start_date"]) for run in list_runs(api, INGEST))
    stages = {}
    for dag in (INGEST, MARTS, REPORT):
        runs = [run for run in list_runs(api, dag) if parse(run["start_date"]) >= begun]
        first = min(parse(run["start_date"]) for run in runs)
        stages[dag] = (max(parse(run["end_date"]) for run in runs) - first).total_seconds()
    return stages


def list_runs(api: httpx.Client, dag: str) -> list[Json]:
    reply = api.get(f"/dags/{dag}/dagRuns", params={"limit": 100, "order_by": "-id"})
    reply.raise_for_status()
    runs: list[Json] = reply.json()["dag_runs"]
    return runs


def parse(text: str) -> datetime:
    return datetime.fromisoformat(text)


def wait_until(condition: Callable[[], bool], what: str, *, every: float = 0.25) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise DemoError(f"waited {PATIENCE_S:.0f} s for {what}")
        time.sleep(every)


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    seconds[stage] = time.monotonic() - begun


def show(outcome: Outcome) -> None:
    """Print the figures as people want to see them."""
    out = Console(width=None if sys.stdout.isatty() else 100)
    show_figures(out, outcome.summary, outcome.seconds)
    if not outcome.is_complete:
        out.print(f"{ROWS:,} rows were delivered; this is not all of them", style="red", highlight=False)
    out.print(f"report: {outcome.report}", highlight=False, soft_wrap=True)
    out.print(f"UI: {outcome.url} (user admin, password in {STATE / 'secrets' / 'admin_password'})", soft_wrap=True)


def show_figures(out: Console, summary: Json, seconds: dict[str, float]) -> None:
    """Print what a summary says, and how long it took."""
    months = Table("month", "rows", "loaded", "quarantined", title="Flights of 2013", title_justify="left")
    for column in months.columns[1:]:
        column.justify = "right"
    for month in summary["months"]:
        months.add_row(month["month"], *(f"{month[key]:,}" for key in ("rows", "loaded", "quarantined")))
    months.add_section()
    months.add_row("all", *(f"{summary[key]:,}" for key in ("rows", "loaded", "quarantined")))
    out.print(months)
    for reason, rows in summary["quarantined_by_reason"].items():
        out.print(f"  {rows:>6,} quarantined: {reason}", highlight=False)
    for label, key in (("best", "best_carrier"), ("worst", "worst_carrier")):
        carrier = summary[key]
        rate = f"{carrier['on_time_rate']:.1%} of {carrier['flights']:,} flights on time"
        out.print(f"{label} carrier: {carrier['name']} ({carrier['carrier']}), {rate}", highlight=False)
    out.print("seconds: " + ", ".join(f"{stage} {value:.1f}" for stage, value in seconds.items()), highlight=False)


if __name__ == "__main__":
    main()
