"""Drills of the alerts: what fires, what arrives, and what ends, with real faults on a real platform.

make drill-alerts                               every part: about an hour and a half
make drill-alerts ARGS="--parts broker tasks"   some parts; the others keep their rows in bench/results/alerts.json
make drill-alerts ARGS="--parts servers"        servers of which a fleet has several, without Airflow: ten minutes
make drill-alerts ARGS="--parts tasks queues --only DagImportErrors QueueStuck --together"

An `airfleet up --monitor` with Celery, then servers of which a fleet has several (part `servers`), and then a fleet of
three machines made here (part `hosts`), are broken in one way after another. Real Prometheus and Alertmanager evaluate
airfleet's rules, with shorter `for` and windows (`quick_rules`). A mail server and an HTTP server take what arrives.
`fired_s` and `arrived_s` are seconds from the break: until the alert fires in Prometheus, and until both receivers have
it. `resolved_s` is the time from the heal until both know that it has ended. `arrived_as` is the alert that people got
in its place, where the fault keeps the alert itself from arriving. `others` fired beside it. Needs root,
RabbitMQ, HAProxy, etcd, and the exporters of nodes and of PostgreSQL.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import yaml

import support
from airfleet.components.monitoring import rule_files
from alert_drills import (
    hosts,
    hosts_bed,
    local_bed,
    pairs,
    processes,
    quick_rules,
    servers_bed,
    stores,
    work,
)
from alert_drills.bed import Bed
from alert_drills.drill import Drill, Outcome, run_together

HOSTS, SERVERS = "hosts", "servers"
PARTS: dict[str, tuple[tuple[Drill, ...], ...]] = {
    "tasks": work.TASKS,
    "queues": work.QUEUES,
    "agents": work.AGENTS,
    "components": processes.COMPONENTS,
    "watching": processes.WATCHING,
    "broker": stores.BROKER,
    "database": stores.DATABASE,
    "machine": stores.MACHINE,
    "clock": processes.CLOCK,
    SERVERS: pairs.PAIRS,
    HOSTS: hosts.HOSTS,
}
# The alert that fires always, and the alert about its absence, whose drill is that of both.
DRILLED_AS = {"Watchdog": "MonitoringSilent"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--only", nargs="+", help="only the drills of these alerts")
    parser.add_argument(
        "--together", action="store_true", help="all chosen ones of a bed side by side, which saves time"
    )
    chosen = parser.parse_args()
    for name in chosen.only or ():
        if not any(list(choose(part, [name])) for part in chosen.parts):
            parser.error(f"argument --only: no drill of these parts is about {name}")
    # Whatever ends this process, what it has started ends first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    groups = {part: list(choose(part, chosen.only)) for part in chosen.parts}
    local = [group for part, own in groups.items() if part not in (SERVERS, HOSTS) for group in own]
    if chosen.together:
        local = [[drill for group in local for drill in group]] if local else []
    run_all(local_bed.make, local)
    run_all(servers_bed.make, groups.get(SERVERS, []))
    run_all(hosts_bed.make, groups.get(HOSTS, []))


def choose(part: str, names: Sequence[str] | None) -> Iterator[list[Drill]]:
    """Yield the groups of a part, with the drills of these alerts alone if there are names."""
    for group in PARTS[part]:
        if own := [one for one in group if not names or one.name.partition(" (")[0] in names]:
            yield own


def run_all(make: Callable[[Path], AbstractContextManager[Bed]], groups: Sequence[Sequence[Drill]]) -> None:
    """Run groups of drills one after another on one bed."""
    if groups:
        with tempfile.TemporaryDirectory(prefix="airfleet-alerts-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            folder.chmod(0o755)
            with make(folder) as bed:
                for group in groups:
                    run_together(bed, group, write)


def write(outcomes: Sequence[Outcome]) -> None:
    """Put the rows in the place of older ones about the same faults."""
    rows = [one.to_json() for one in outcomes]
    new = {(row["alert"], row["how"]) for row in rows}
    kept = [row for row in support.read("alerts").get("drills", []) if (row["alert"], row["how"]) not in new]
    drills = sorted([*kept, *rows], key=lambda row: (row["alert"], row["how"]))
    drilled = {row["alert"].partition(" (")[0] for row in drills if row["drilled"]}
    missing = [name for name in list_alerts() if DRILLED_AS.get(name, name) not in drilled]
    support.write(
        "alerts",
        {
            "factor": quick_rules.FACTOR,
            "alerts": len(list_alerts()),
            "not_drilled": {name: explain(DRILLED_AS.get(name, name)) for name in missing},
            "drilled_as": DRILLED_AS,
            "drills": drills,
        },
    )
    support.write("observe", {**support.read("observe"), "alerts_not_drilled": len(missing)})


def explain(name: str) -> str:
    """Return why an alert counts as not drilled."""
    parts = [
        part
        for part, groups in PARTS.items()
        if any(one.partition(" (")[0] == name for group in groups for drill in group for one in drill.alerts)
    ]
    if parts:
        return f"its drill, of the part `{parts[0]}`, has not run to a good end yet"
    return "no drill breaks what it is about"


def list_alerts() -> list[str]:
    """Return the names of all alerts of the shipped rules."""
    files = map(yaml.safe_load, rule_files.read_shipped().values())
    return sorted(
        {rule["alert"] for file in files for group in file["groups"] for rule in group["rules"] if "alert" in rule}
    )


if __name__ == "__main__":
    main()
