"""Nine empty machines become a platform, and a year of flights runs through it, on three pools of workers.

    make fleet-demo                  nine machines made on this one, taken down at the end (root, systemd-nspawn)
    make fleet-demo ARGS=--keep      leaves machines and project for a look

Exits with 0 only if every run succeeded, every delivered row is accounted for, and every task ran on the host of its
queue's pool.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
FLIGHTS = ROOT / "examples" / "flights"
sys.path[:0] = [str(FLIGHTS), str(ROOT / "tests" / "support")]

import demo as flights  # noqa: E402

from machines import MachineError, why_not  # noqa: E402
from reference_fleet import ReferenceFleet, make_bed  # noqa: E402

WORKER = "/var/lib/airfleet/worker/flights"
DAGS = (flights.INGEST, flights.MARTS, flights.REPORT)
out = Console(width=None if sys.stdout.isatty() else 110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="leave machines and project")
    arguments = parser.parse_args()
    if reason := why_not():
        sys.exit(f"fleet-demo: no machines can run here: {reason}")
    say("$ # nine machines, each with nothing but SSH, sudo and a package mirror")
    bed = make_bed(keep=arguments.keep)
    folder = Path(tempfile.mkdtemp(prefix="airfleet-demo-"))
    try:
        bed.wait_ready()
        is_good = run(ReferenceFleet(copy_project(folder / "flights"), bed))
    except (flights.DemoError, MachineError, httpx.HTTPError) as error:
        say(f"fleet-demo: {error}")
        is_good = False
    finally:
        if arguments.keep:
            say(f"left: {folder / 'flights'}, machines {', '.join(one.address for one in bed.machines)}")
        else:
            bed.destroy()
            shutil.rmtree(folder)
    sys.exit(0 if is_good else 1)


def copy_project(folder: Path) -> Path:
    """The flights project without what was made beside it."""
    return Path(shutil.copytree(FLIGHTS, folder, ignore=shutil.ignore_patterns(".*", "__pycache__")))


def run(fleet: ReferenceFleet) -> bool:
    """From plan to status; whether all of it went well."""
    fleet.write()
    seconds: dict[str, float] = {}
    plan = json.loads(fleet.run("plan", "--json").stdout)
    say(f"$ airfleet plan            # {len(plan['changes'])} changes on {len(fleet.bed.machines)} hosts")
    with flights.timed(seconds, "apply"):
        command(fleet, "apply")
    command(fleet, "plan", "--check")
    command(fleet, "release", "deploy", "-m", "flights")
    with flights.timed(seconds, "feed"):
        deliver(fleet)
    with fleet.log_in() as api:
        flights.prepare_runs(api)
        with flights.timed(seconds, "pipeline"):
            flights.wait_for_runs(api, lambda: read_summary(fleet))
        seconds |= flights.measure_stages(api)
        tasks = [task for dag in DAGS for task in list_tasks(api, dag)]
    summary = read_summary(fleet)
    flights.show_figures(out, summary, seconds)
    show_tasks(fleet, tasks)
    strays = fleet.find_strays(tasks)
    for stray in strays:
        say(f"went astray: {stray}")
    command(fleet, "status")
    return summary["loaded"] + summary["quarantined"] == flights.ROWS and not strays


def command(fleet: ReferenceFleet, *arguments: str) -> None:
    """Show a command and what it says; raises DemoError when it does not end well."""
    say(f"$ airfleet {' '.join(arguments)}")
    sys.stdout.flush()
    if fleet.run(*arguments, stdout=None).returncode:
        raise flights.DemoError(f"airfleet {arguments[0]} did not end well; what it said is above")


def deliver(fleet: ReferenceFleet) -> None:
    """Put the airline's files where the tasks of the ingest look for them: on the host of their pool."""
    with tempfile.TemporaryDirectory() as folder:
        flights.deliver_files(Path(folder))
        target = f"{WORKER}/landing"
        unpack = f"sudo -u airfleet-worker sh -c 'mkdir -p {target} && tar -xz -C {target}'"
        argv = ["ssh", "-F", str(fleet.bed.layout.ssh_config), "cpu1", unpack]
        packed = subprocess.run(["tar", "-cz", "-C", folder, "."], check=True, capture_output=True).stdout
        subprocess.run(argv, input=packed, check=True)


def read_summary(fleet: ReferenceFleet) -> dict[str, Any]:
    """What the report says in figures, read on the host that made it; nothing while there is none."""
    read = fleet.bed["io1"].run(f"sudo cat {WORKER}/report/summary.json 2>/dev/null", check=False)
    summary: dict[str, Any] = json.loads(read.stdout) if read.stdout else {}
    return summary


def list_tasks(api: httpx.Client, dag: str) -> list[dict[str, Any]]:
    """Every task instance of a Dag."""
    tasks: list[dict[str, Any]] = []
    while True:
        page = api.get(f"/dags/{dag}/dagRuns/~/taskInstances", params={"limit": 100, "offset": len(tasks)})
        found = page.raise_for_status().json()
        tasks += found["task_instances"]
        if len(tasks) >= found["total_entries"] or not found["task_instances"]:
            return tasks


def show_tasks(fleet: ReferenceFleet, tasks: list[dict[str, Any]]) -> None:
    """Print what ran where."""
    names = {machine.address: machine.name for machine in fleet.bed.machines}
    ran = Counter((one["queue"], names.get(one["hostname"], "")) for one in tasks if one["state"] == "success")
    table = Table("queue", "host", "tasks", title="Where they ran", title_justify="left")
    table.columns[2].justify = "right"
    for (queue, host), count in sorted(ran.items()):
        table.add_row(queue, host or "(none: nothing to run)", str(count))
    out.print(table)


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


if __name__ == "__main__":
    main()
