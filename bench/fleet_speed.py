"""`seq40`, `wide` and `chain` on the hosts of a fleet: airfleet and stock Airflow in turns, on the same machines.

Both run the same Dag files with the same slots on the same worker host. The data services of the fleet run in both
turns; everything else of the other system is stopped. All times are of one clock, as the machines share one kernel.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import httpx

from deadline import wait_until
from fleet_stock import Stock
from reference_fleet import ReferenceFleet
from stock.figures import percentile
from stock.workloads import WORKLOADS

DAGS = Path(__file__).parent / "stock" / "dags"
MEASURED = ("seq40", "wide", "chain")
SLOTS = 8
RUN_S = 900
# Seconds after which components write their counts (docs/concepts/fallbacks.md).
COUNTED_S = 4
_ENDED = ("success", "failed")


class Turn(Protocol):
    """One of the two systems that are measured."""

    name: str

    def start(self) -> None:
        """Start the system, and return when tasks can run."""

    def stop(self) -> None:
        """Stop everything but the data services of the fleet."""

    def log_in(self) -> httpx.Client:
        """Return a client of its REST API."""

    def count_paths(self) -> dict[str, int]:
        """Return how often each path was taken so far, or nothing for a system that does not count."""


class Own:
    """The fleet's own services, as `apply` set them up."""

    name = "airfleet"
    keep = ("postgresql", "pgbouncer", "rabbitmq", "exporter")

    def __init__(self, fleet: ReferenceFleet) -> None:
        self._fleet = fleet

    def start(self) -> None:
        for machine in self._fleet.bed.machines:
            machine.console("systemctl restart airfleet-firewall.service")
        if self._fleet.run("apply", "--json").returncode:
            raise SystemExit("bench: apply could not start the fleet's services again")

    def stop(self) -> None:
        listed = "systemctl list-units 'airfleet-*.service' --state=running --plain --no-legend --no-pager"
        for machine in self._fleet.bed.machines:
            units = [line.split()[0] for line in machine.console(listed).splitlines()]
            if stopped := [unit for unit in units if not any(word in unit for word in self.keep)]:
                machine.console(f"systemctl stop {' '.join(stopped)}")

    def log_in(self) -> httpx.Client:
        return self._fleet.log_in()

    def count_paths(self) -> dict[str, int]:
        time.sleep(COUNTED_S)
        status = json.loads(self._fleet.run("status", "--json").stdout)
        calls = status["paths"]["execution-api"]
        return {
            "cold": status["cold_starts"],
            "warm": status["warm_starts"],
            "fast": calls["fast"],
            "slow": calls["slow"],
        }


def write_dags(folder: Path) -> None:
    """Write the Dag files of the workloads. `wide` has ten Dags."""
    for name in ("warmup", *MEASURED):
        text = (DAGS / f"{name}.py").read_text()
        dags = ("warmup",) if name == "warmup" else WORKLOADS[name].dags
        for dag in dags:
            (folder / f"{dag}.py").write_text(text)


def measure(fleet: ReferenceFleet, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure both systems in turns. Return medians, their ratios, and the number of cold starts."""
    own, stock = Own(fleet), Stock(fleet, SLOTS, fleet.folder / "dags")
    walls: dict[str, dict[str, list[float]]] = {}
    starts: dict[str, list[float]] = {}
    paths = {"cold": 0, "warm": 0, "fast": 0, "slow": 0}
    for number in range(rounds):
        for system in (own, stock):
            if number or system is stock:
                system.start()
            found, waits = take_turn(system, number, paths)
            for name, wall in found.items():
                walls.setdefault(system.name, {}).setdefault(name, []).append(wall)
            starts.setdefault(system.name, []).extend(waits)
            say(f"round {number + 1} of {rounds}: {system.name}: {found}")
            system.stop()
    own.start()
    return summarise(walls, starts, paths)


def take_turn(system: Turn, number: int, paths: dict[str, int]) -> tuple[dict[str, float], list[float]]:
    """Return the seconds of each workload, and those of each task of `chain` from queued to running.

    Each Dag runs once before the measurement, so that its file is loaded.
    """
    with system.log_in() as api:
        names = ["warmup", *(dag for name in MEASURED for dag in WORKLOADS[name].dags)]
        for dag in names:
            wait_until(partial(is_known, api, dag), f"{dag} to appear")
            api.patch(f"/dags/{dag}", json={"is_paused": False}).raise_for_status()
        run_all(api, names, f"first_{number}")
        before = system.count_paths()
        found = {name: run_all(api, WORKLOADS[name].dags, f"round_{number}") for name in MEASURED}
        after = system.count_paths()
        waits = [wait for dag in WORKLOADS["chain"].dags for wait in read_starts(api, dag, f"round_{number}")]
    for kind in after:
        paths[kind] += after[kind] - before[kind]
    return found, waits


def read_starts(api: httpx.Client, dag: str, run: str) -> list[float]:
    """Return the seconds from queued to running of each task of a run."""
    body = api.get(f"/dags/{dag}/dagRuns/{run}/taskInstances", params={"limit": 100}).raise_for_status().json()
    times = [(one["queued_when"], one["start_date"]) for one in body["task_instances"]]
    return [max(0.0, _read_time(started) - _read_time(queued)) for queued, started in times]


def _read_time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def run_all(api: httpx.Client, dags: Sequence[str], run: str) -> float:
    """Trigger a run of each Dag at once, and return the seconds from the first trigger to the end of the last run."""
    begun = time.time()
    for dag in dags:
        api.post(f"/dags/{dag}/dagRuns", json={"logical_date": None, "dag_run_id": run}).raise_for_status()
    ended = []
    for dag in dags:
        done = wait_until(
            partial(find_ended, api, dag, run), f"the end of {run} of {dag}", timeout_s=RUN_S, every_s=0.5
        )
        if done["state"] != "success":
            raise SystemExit(f"bench: {run} of {dag}: {done['state']}, so its figures mean nothing")
        ended.append(_read_time(done["end_date"]))
    return round(max(ended) - begun, 3)


def is_known(api: httpx.Client, dag: str) -> bool:
    return api.get(f"/dags/{dag}").is_success


def find_ended(api: httpx.Client, dag: str, run: str) -> dict[str, Any] | None:
    """Return the API's data of a run that has ended, or None while it runs."""
    body: dict[str, Any] = api.get(f"/dags/{dag}/dagRuns/{run}").raise_for_status().json()
    return body if body["state"] in _ENDED else None


def summarise(
    walls: dict[str, dict[str, list[float]]], starts: dict[str, list[float]], paths: dict[str, int]
) -> dict[str, Any]:
    """Return the figures with the names that README and the docs use."""
    seconds = {name: {work: median(runs) for work, runs in found.items()} for name, found in walls.items()}
    wide = WORKLOADS["wide"].tasks
    rates = {name: round(wide / found["wide"], 2) for name, found in seconds.items()}
    own, stock = seconds["airfleet"], seconds["stock"]
    p95 = {name: round(percentile(waits, 95) or 0.0, 3) for name, waits in starts.items()}
    return {
        "slots": SLOTS,
        "seq40_s": own["seq40"],
        "stock_seq40_s": stock["seq40"],
        "seq40_ratio": round(stock["seq40"] / own["seq40"], 2),
        "wide_rate": rates["airfleet"],
        "stock_wide_rate": rates["stock"],
        "wide_ratio": round(rates["airfleet"] / rates["stock"], 2),
        "chain_start_p95_s": p95["airfleet"],
        "stock_chain_start_p95_s": p95["stock"],
        "chain_start_p95_ratio": round(p95["stock"] / max(0.001, p95["airfleet"]), 2),
        "cold_starts": paths["cold"],
        "warm_starts": paths["warm"],
        "fast_path_share": round(paths["fast"] / max(1, paths["fast"] + paths["slow"]), 4),
        "speed_runs_s": walls,
    }
