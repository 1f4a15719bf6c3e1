"""Run one workload on one system, and measure it."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

from stock import figures
from stock.crew import say, wait
from stock.metadata import Metadata
from stock.system import System
from stock.usage import PeakMemory, subtract, take_cpu
from stock.workloads import MONTHS, WARMUP, WORKLOADS, Workload

POLL_S = 0.2
SETTLE_S = 2.0
# Seconds until the processes of the last task have ended after its run.
TRAILING_S = 1.0
PATIENCE_S = 900.0
QUIET_LOOKS = 10


def prepare(system: System) -> None:
    """Wait until every Dag can be triggered, and warm up every component."""
    triggered = {dag for workload in system.plan.triggered for dag in workload.dags}
    wanted = triggered | {dag for name in system.plan.workloads for dag in WORKLOADS[name].dags}
    wait(
        lambda: wanted <= system.metadata.list_serialised(),
        "the Dags to be parsed",
        crew=system.crew,
        patience_s=PATIENCE_S,
    )
    for dag in sorted(triggered):
        system.rest.unpause(dag)
    for number in range(2):
        run = f"warmup_{number}"
        system.rest.trigger_all(WARMUP.dags, run)
        wait_for_runs(system, WARMUP, [run])


def measure(system: System, name: str, number: int) -> dict[str, Any]:
    """Run one round of a workload, and return its figures."""
    workload, run = WORKLOADS[name], f"round_{number}"
    runs = None if workload.scheduled else [run]
    time.sleep(SETTLE_S)
    runner = system.plan.runner
    cpu, traffic = take_cpu(system.find_roots(), runner), system.metadata.read_traffic()
    begun = time.time()
    with PeakMemory(system.find_roots(), runner) as memory:
        if workload.scheduled:
            for dag in workload.dags:
                system.rest.unpause(dag)
        else:
            system.rest.trigger_all(workload.dags, run)
        wait_for_runs(system, workload, runs)
        time.sleep(TRAILING_S)
        cpu = subtract(take_cpu(system.find_roots(), runner), cpu)
    after = system.metadata.read_traffic()
    usage = figures.Usage(
        cpu=cpu,
        pss_mib=memory.at_peak,
        peak_pss_mib=memory.peak_mib,
        connections=after.connections - traffic.connections,
        transactions=after.transactions - traffic.transactions,
    )
    return read_figures(system.metadata, workload.dags, runs, begun, usage)


def read_figures(
    metadata: Metadata, dags: Collection[str], runs: Collection[str] | None, begun: float, usage: figures.Usage
) -> dict[str, Any]:
    """Return the figures of runs that have ended."""
    instances, done = metadata.read_instances(dags, runs), metadata.read_runs(dags, runs)
    phases = figures.measure_phases(instances, done, metadata.read_upstream(dags))
    return figures.summarise(begun=begun, instances=instances, runs=done, phases=phases, usage=usage)


def wait_for_runs(system: System, workload: Workload, runs: Collection[str] | None) -> None:
    """Wait until all of these runs have ended."""
    deadline = time.monotonic() + PATIENCE_S
    quiet = 0
    while quiet < (QUIET_LOOKS if workload.scheduled else 1):
        quiet = quiet + 1 if _is_over(system.metadata, workload, runs) else 0
        system.crew.check()
        if time.monotonic() > deadline:
            say(f"{workload.name} has not ended after {PATIENCE_S:.0f} s")
            raise SystemExit(1)
        time.sleep(POLL_S)


def _is_over(metadata: Metadata, workload: Workload, runs: Collection[str] | None) -> bool:
    if metadata.count_unfinished(workload.dags, runs):
        return False
    if not workload.scheduled:
        return True
    report, marts, ingest = (metadata.count_runs(dag, "success") for dag in workload.dags)
    return bool(report and marts and ingest >= MONTHS)
