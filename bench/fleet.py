"""Measure `apply` on nine empty machines: the first apply, one with nothing to do, and one for a changed setting.

Between the second and the third apply, a release goes live, and its tasks must run on the hosts of their pools. At the
end, `seq40`, `wide` and `chain` run on the fleet and on stock Airflow on the same hosts, in turns.

make bench-fleet                       nine machines on this one, bench/results/fleet.json
make bench-fleet ARGS="--rounds 1"     one turn of each system
make bench-fleet ARGS="--keep"         keep the machines and the project
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import fleet_speed  # noqa: E402
from machines import why_not  # noqa: E402
from reference_fleet import ReferenceFleet, make_bed  # noqa: E402

RESULTS = ROOT / "bench" / "results" / "fleet.json"
BARS = {"apply_s": 480, "reapply_s": 30, "reapply_changes": 0, "one_setting_s": 45, "cold_starts": 0}
FLOORS = {"seq40_ratio": 6, "wide_ratio": 4, "chain_start_p95_ratio": 4}
DAG = """\
from airflow.sdk import dag, task


@dag(schedule=None, default_args={"owner": "bench", "retries": 1})
def spread():
    @task(queue="cpu")
    def crunch():
        return 1

    @task(queue="memory")
    def hold(number):
        return number

    @task(queue="io")
    def store(number):
        return number

    store(hold(crunch()))


spread()
"""


def main() -> None:
    """Apply three times with a run of tasks between, and write the seconds and changes of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="leave machines and project")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each system")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the figures go")
    arguments = parser.parse_args()
    if reason := why_not():
        sys.exit(f"bench: no machines can run here: {reason}")
    say("nine machines with the packages in apt's cache")
    bed = make_bed(keep=arguments.keep)
    folder = Path(tempfile.mkdtemp(prefix="airfleet-bench-"))
    try:
        bed.wait_ready()
        figures = measure(ReferenceFleet(folder, bed), arguments.rounds)
    finally:
        if arguments.keep:
            say(f"left: {folder}, bed {bed.layout.bed}")
        else:
            bed.destroy()
            shutil.rmtree(folder)
    arguments.output.write_text(json.dumps(figures, indent=2) + "\n")
    say(json.dumps(figures))
    missed = [f"{key} {figures[key]} (bar {bar})" for key, bar in BARS.items() if figures[key] > bar]
    missed += [f"{key} {figures[key]} (bar {bar})" for key, bar in FLOORS.items() if figures[key] < bar]
    if missed:
        sys.exit(f"bench: {', '.join(missed)}")


def measure(fleet: ReferenceFleet, rounds: int) -> dict[str, Any]:
    """Return the figures of one fleet on a bed."""
    (fleet.folder / "dags").mkdir()
    (fleet.folder / "dags" / "spread.py").write_text(DAG)
    fleet_speed.write_dags(fleet.folder / "dags")
    fleet.write(change_example)
    first = apply(fleet)
    again = apply(fleet)
    plan = fleet.run("plan", "--check")
    begun = time.monotonic()
    deploy = fleet.run("release", "deploy", "-m", "first")
    deploy_s = time.monotonic() - begun
    if deploy.returncode:
        sys.exit(f"bench: the deploy failed with {deploy.returncode}")
    with fleet.log_in() as api:
        tasks = fleet.run_dag(api, "spread")
    if strays := fleet.find_strays(tasks):
        sys.exit(f"bench: tasks went astray: {strays}")
    fleet.write(lambda text: change_example(text).replace("cpu: {concurrency: 2", "cpu: {concurrency: 3"))
    setting = apply(fleet)
    speed = fleet_speed.measure(fleet, rounds, say)
    names = {machine.address: machine.name for machine in fleet.bed.machines}
    return {
        "when": time.strftime("%Y-%m-%d %H:%M"),
        "machine": {"cpus": os.cpu_count(), "load": round(os.getloadavg()[1], 1)},
        "hosts": len(fleet.bed.machines),
        "apply_s": first["seconds"],
        "apply_changes": len(first["changes"]),
        "apply_stages_s": sum_up(first),
        "plan_after_apply_exit": plan.returncode,
        "reapply_s": again["seconds"],
        "reapply_changes": len(again["changes"]),
        "deploy_s": round(deploy_s, 2),
        "tasks": {one["task_id"]: f"{one['queue']} on {names[one['hostname']]}" for one in tasks},
        "one_setting_s": setting["seconds"],
        "one_setting_changes": sorted({f"{change['host']}: {change['what']}" for change in setting["changes"]}),
        **speed,
    }


def change_example(text: str) -> str:
    """Return the example fleet.yaml without the flights project's parts, with the slots of the one-machine bench."""
    return text[: text.index("# Files that one task")].replace(
        "default: {concurrency: 4}", f"default: {{concurrency: {fleet_speed.SLOTS}}}"
    )


def sum_up(body: dict[str, Any]) -> dict[str, float]:
    """Return the slowest host's seconds for each kind of change. Hosts work in parallel."""
    sums: dict[str, dict[str, float]] = {}
    for change in body["changes"]:
        own = sums.setdefault(change["what"].split(" ")[0], {})
        own[change["host"]] = own.get(change["host"], 0) + change["seconds"]
    return {verb: round(max(own.values()), 1) for verb, own in sums.items()}


def apply(fleet: ReferenceFleet) -> dict[str, Any]:
    """Run one apply, which must succeed, and return its JSON."""
    done = fleet.run("apply", "--json")
    if done.returncode:
        sys.exit(f"bench: apply failed with {done.returncode}")
    body: dict[str, Any] = json.loads(done.stdout)
    say(f"apply: {body['seconds']} s, {len(body['changes'])} changes")
    return body


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
