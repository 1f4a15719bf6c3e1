"""What is run on every system: Dags, and how many task instances they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    """Dags that are triggered at once, or with `scheduled` are unpaused and left to their own schedules."""

    name: str
    dags: tuple[str, ...]
    tasks: int
    scheduled: bool = False


WARMUP = Workload("warmup", ("warmup",), 17)
REFERENCE = Workload("reference", tuple(f"reference_{number:03}" for number in range(500)), 10)
FLIGHTS = ("flights_report", "flights_marts", "flights_ingest")
MONTHS = 12

WORKLOADS: Mapping[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload("seq40", ("seq40",), 40),
        Workload("wide", tuple(f"wide_{number}" for number in range(10)), 200),
        Workload("chain", tuple(f"chain_{number}" for number in range(10)), 100),
        Workload("fan", ("fan",), 202),
        # Consumers first, so that no asset event passes a Dag that is still paused; 0: however many tasks it makes.
        Workload("real", FLIGHTS, 0, scheduled=True),
    )
}
