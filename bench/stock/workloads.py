"""The workloads: their Dags, and the number of task instances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    """Dags that are triggered at once. With `scheduled`, they are unpaused and run on their schedules instead."""

    name: str
    dags: tuple[str, ...]
    tasks: int
    scheduled: bool = False


WARMUP = Workload("warmup", ("warmup",), 17)
REFERENCE = Workload("reference", tuple(f"reference_{number:03}" for number in range(500)), 10)
# The reference load with crons, whose moments `bench/load.py` moves.
LOAD = Workload("load", tuple(f"load_{number:03}" for number in range(500)), 10)
FLIGHTS = ("flights_report", "flights_marts", "flights_ingest")
MONTHS = 12

WORKLOADS: Mapping[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload("seq40", ("seq40",), 40),
        Workload("wide", tuple(f"wide_{number}" for number in range(10)), 200),
        Workload("chain", tuple(f"chain_{number}" for number in range(10)), 100),
        Workload("fan", ("fan",), 202),
        # Consumers come first, so that no asset event is lost on a paused Dag. 0 means any number of tasks.
        Workload("real", FLIGHTS, 0, scheduled=True),
    )
}
