"""From nine empty machines to a platform: how long `apply` takes, again with nothing to do, and for one setting.

make bench-fleet                  nine machines on this one, bench/results/fleet.json
make bench-fleet ARGS="--keep"    leave the machines and the project for a look
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
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from machines import Bed, why_not  # noqa: E402
from machines.image import Recipe, ensure_image  # noqa: E402

AIRFLEET = ROOT / ".venv" / "bin" / "airfleet"
RESULTS = ROOT / "bench" / "results" / "fleet.json"
PACKAGES = (
    *("haproxy", "nftables", "pgbouncer", "postgresql-15", "prometheus-node-exporter"),
    *("prometheus-postgres-exporter", "rabbitmq-server"),
)
ROLES = {
    "web1": "roles: [web, balancer]",
    "web2": "roles: [web]",
    "web3": "roles: [web, monitor]",
    "sched1": "roles: [scheduler]",
    "sched2": "roles: [scheduler]",
    "cpu1": "pools: [default, cpu]",
    "memory1": "pools: [memory]",
    "io1": "pools: [io]",
    "data1": "roles: [database, broker]",
}
POOLS = """\
pools:
  default: {concurrency: 4}
  cpu: {concurrency: 2, cpus: 1}
  memory: {concurrency: 2, memory: 2G}
  io: {concurrency: 8, io_weight: 50, tasks_max: 500}
"""
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
    """Apply four times, and write down how long each took and what it changed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="leave machines and project")
    arguments = parser.parse_args()
    if reason := why_not():
        sys.exit(f"bench: no machines can run here: {reason}")
    say("image with the packages in apt's cache")
    image = ensure_image(Recipe(fetched=PACKAGES))
    bed = Bed.create(list(ROLES), image=image, keep=arguments.keep)
    folder = Path(tempfile.mkdtemp(prefix="airfleet-bench-"))
    try:
        bed.wait_ready()
        figures = measure(folder, bed)
    finally:
        if not arguments.keep:
            bed.destroy()
            shutil.rmtree(folder)
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n")
    say(json.dumps(figures))


def measure(project: Path, bed: Bed) -> dict[str, Any]:
    """The figures of one fleet on a bed."""
    (project / "dags").mkdir()
    (project / "dags" / "spread.py").write_text(DAG)
    write_fleet(project, bed, POOLS)
    first = apply(project)
    again = apply(project)
    plan = subprocess.run([AIRFLEET, "plan", "--check", str(project)], check=False, capture_output=True)
    write_fleet(project, bed, POOLS.replace("cpu: {concurrency: 2", "cpu: {concurrency: 3"))
    setting = apply(project)
    touched = sorted({f"{change['host']}: {change['what']}" for change in setting["changes"]})
    return {
        "when": time.strftime("%Y-%m-%d %H:%M"),
        "machine": {"cpus": os.cpu_count(), "load": round(os.getloadavg()[1], 1)},
        "hosts": len(ROLES),
        "apply_s": first["seconds"],
        "apply_changes": len(first["changes"]),
        "plan_after_apply_exit": plan.returncode,
        "reapply_s": again["seconds"],
        "reapply_changes": len(again["changes"]),
        "one_setting_s": setting["seconds"],
        "one_setting_changes": touched,
    }


def write_fleet(project: Path, bed: Bed, pools: str) -> None:
    """The reference fleet on the bed's addresses."""
    lines = [f"  {name}: {{address: {bed[name].address}, {roles}}}" for name, roles in ROLES.items()]
    ssh = f"ssh: {{user: ops, key: {bed.layout.key}, known_hosts: {bed.layout.known_hosts}}}"
    (project / "fleet.yaml").write_text("\n".join(["name: nine", ssh, "hosts:", *lines, pools]))


def apply(project: Path) -> dict[str, Any]:
    """One apply; it must end well."""
    done = subprocess.run([AIRFLEET, "apply", "--json", str(project)], check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"bench: apply failed with {done.returncode}")
    body: dict[str, Any] = json.loads(done.stdout)
    say(f"apply: {body['seconds']} s, {len(body['changes'])} changes")
    return body


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
