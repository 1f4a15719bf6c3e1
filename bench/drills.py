"""Run every drill of the catalogue on a fleet of machines on this one, under load: bench/results/drills.json.

make drill                                            all of them, about three hours
make drill ARGS="--only kill-scheduler,freeze-scheduler"   some; their figures replace the ones in the file
make drill ARGS="--only api-outage --outage 90"       a shorter outage than the ten minutes of the catalogue
make drill ARGS="--stock --only kill-scheduler"       the same hosts with Airflow's own settings, kept under `stock`
make drill ARGS="--keep --bed drills"                 keep the machines; the next call uses them again

The results come from the attempt log that the tasks write, not from Airflow's tables.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from airfleet.workspace.project import read_fleet

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import drill_fleet  # noqa: E402
from airfleet.drills.catalogue import CATALOGUE, Drill  # noqa: E402
from airfleet.drills.fleet import LEDGER, prepare  # noqa: E402
from airfleet.drills.load import Load  # noqa: E402
from airfleet.drills.operator_actions import OperatorInjector  # noqa: E402
from airfleet.drills.outcome import DrillOutcome, to_json  # noqa: E402
from airfleet.drills.page import render_page  # noqa: E402
from bed_injector import BedInjector  # noqa: E402
from machines import Bed, why_not  # noqa: E402
from machines.image import Recipe, ensure_image  # noqa: E402

AIRFLEET = ROOT / ".venv" / "bin" / "airfleet"
RESULTS = ROOT / "bench" / "results" / "drills.json"
HEALTHY_S = 240.0


def main() -> None:
    """Make the fleet, and run the drills on it."""
    arguments = read_arguments()
    drills = [shorten(one, arguments) for one in choose(arguments.only)]
    if reason := why_not():
        sys.exit(f"drills: no machines can run here: {reason}")
    bed, project = open_bed(arguments.bed, keep=arguments.keep)
    try:
        bed.wait_ready()
        drill_fleet.write_project(project, bed, is_stock=arguments.stock)
        say("apply")
        subprocess.run([AIRFLEET, "apply", str(project)], check=True, stdout=subprocess.DEVNULL)
        outcomes, failed = run_all(drills, bed, project, partial(keep, key="stock" if arguments.stock else "drills"))
        if arguments.page and outcomes:
            when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
            arguments.page.write_text(render_page(outcomes, title="Drills", subtitle=when))
    finally:
        if arguments.logs:
            save_logs(bed, arguments.logs)
        if not arguments.keep:
            bed.destroy()
            shutil.rmtree(project)
    if failed or not all(one.is_kept for one in outcomes):
        sys.exit(1)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="names of drills, separated by commas")
    parser.add_argument("--stock", action="store_true", help="with Airflow's own settings and executor")
    parser.add_argument("--outage", type=float, help="seconds that a part is away, where the catalogue says minutes")
    parser.add_argument("--before", type=float, help="seconds of load before the fault, where the catalogue says more")
    parser.add_argument("--after", type=float, help="seconds of load after the fault, where the catalogue says more")
    parser.add_argument("--bed", default="", help="the bed's name; one that is there already is used again")
    parser.add_argument("--keep", action="store_true", help="leave machines and project")
    parser.add_argument("--page", type=Path, help="write the report with its time lines there")
    parser.add_argument("--logs", type=Path, help="keep every machine's journal in this folder")
    return parser.parse_args()


def choose(only: str | None) -> list[Drill]:
    names = only.split(",") if only else list(CATALOGUE)
    if unknown := [name for name in names if name not in CATALOGUE]:
        sys.exit(f"drills: there is no {', '.join(unknown)}; there are {', '.join(CATALOGUE)}")
    return [CATALOGUE[name] for name in names]


def shorten(drill: Drill, arguments: argparse.Namespace) -> Drill:
    """Return a drill with the times of the command line. The outcome records them."""
    fault = drill.fault
    if arguments.outage and fault.lasts_s:
        fault = replace(fault, lasts_s=min(fault.lasts_s, arguments.outage))
    if arguments.before:
        fault = replace(fault, at_s=min(fault.at_s, arguments.before))
    after_s = min(drill.after_s, arguments.after) if arguments.after else drill.after_s
    return replace(drill, fault=fault, after_s=after_s)


def open_bed(
    name: str, *, keep: bool, roles: Mapping[str, str] = drill_fleet.ROLES, kind: str = "drills"
) -> tuple[Bed, Path]:
    """Open a bed, and return it with its project. If the bed was kept, return the same project."""
    home = Path(tempfile.gettempdir()) / f"airfleet-{kind}-{name}"
    if name and home.exists():
        return Bed.open(name), home
    say("image with the packages in apt's cache")
    image = ensure_image(Recipe(fetched=drill_fleet.PACKAGES))
    bed = Bed.create(list(roles), bed=name or None, image=image, keep=keep)
    project = home if name else Path(tempfile.mkdtemp(prefix=f"airfleet-{kind}-"))
    project.mkdir(exist_ok=True)
    return bed, project


def run_all(
    drills: Sequence[Drill], bed: Bed, project: Path, keep_line: Callable[[dict[str, Any]], None]
) -> tuple[list[DrillOutcome], int]:
    """Run drills one after another. If one fails, its error is recorded, and the fleet is repaired for the next."""
    outcomes, failed = [], 0
    for drill in drills:
        try:
            outcome = run(drill, bed, project)
        except Exception as error:  # any error ends this drill only
            failed += 1
            say(f"{drill.name}: {error}")
            traceback.print_exc()
            keep_line({"name": drill.name, "done": str(drill.fault), "bar_s": drill.bar_s, "error": str(error)})
            continue
        outcomes.append(outcome)
        line = to_json(outcome) | {"when": time.strftime("%Y-%m-%d %H:%M"), "machine_load": os.getloadavg()[1]}
        keep_line(line)
        say(json.dumps(line))
    return outcomes, failed


def run(drill: Drill, bed: Bed, project: Path) -> DrillOutcome:
    """Run one drill, with new connections."""
    heal(bed, project)
    fleet = read_fleet(project)
    with ExitStack() as stack:
        runner = prepare(stack, fleet, project, None, "drills", say)
        # Operations run commands, as on any fleet. A fault that no script can inject here is injected by the bed.
        assert isinstance(runner.injector, OperatorInjector)
        injector = replace(runner.injector, inside=BedInjector(bed, runner.injector.inside))
        return replace(runner, injector=injector).run(drill, partial(Load, ledger=LEDGER, queues=fleet.queues))


def mend(bed: Bed) -> None:
    """Undo what an earlier drill left of faults, and wait until every machine has booted."""
    bed.heal()
    for machine in bed.machines:
        machine.thaw()
        machine.power_on()
    bed.wait_ready()


def heal(bed: Bed, project: Path) -> None:
    """Undo what an earlier drill left, and wait until the fleet is healthy."""
    mend(bed)
    end = time.monotonic() + HEALTHY_S
    while (
        status := subprocess.run([AIRFLEET, "status", str(project)], check=False, capture_output=True, text=True)
    ).returncode:
        if time.monotonic() > end:
            raise TimeoutError(f"the fleet is not healthy again:\n{status.stdout}{status.stderr}")
        time.sleep(2)


def keep(line: dict[str, Any], *, key: str) -> None:
    """Write one drill's figures to the results, and replace its older ones."""
    results = read()
    lines = {one["name"]: one for one in results.get(key, [])} | {line["name"]: line}
    order = {name: number for number, name in enumerate(CATALOGUE)}
    results[key] = sorted(lines.values(), key=lambda one: order.get(one["name"], len(order)))
    write(results | {"cpus": os.cpu_count(), "fleet": drill_fleet.ROLES, "stock_is": drill_fleet.STOCK_IS})


def read() -> dict[str, Any]:
    """Return the results of this and earlier calls."""
    return dict(json.loads(RESULTS.read_text())) if RESULTS.exists() else {}


def write(results: Mapping[str, Any]) -> None:
    """Replace the results, whole or not at all."""
    scratch = RESULTS.with_suffix(".new")
    scratch.write_text(json.dumps(results, indent=2) + "\n")
    scratch.replace(RESULTS)


def save_logs(bed: Bed, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for machine in bed.machines:
        (folder / f"{machine.name}.log").write_text(machine.read_logs(lines=200_000))


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
