"""A running Airflow that is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stock.crew import Crew
from stock.metadata import Metadata
from stock.rest import Rest
from stock.workloads import REFERENCE, WARMUP, WORKLOADS, Workload

BENCH = Path(__file__).resolve().parent
REPOSITORY = BENCH.parent.parent
FLIGHTS = REPOSITORY / "examples" / "flights"
TOOLS = REPOSITORY / ".tools" / "bench"


@dataclass(frozen=True)
class Plan:
    """The set-up that both systems share."""

    executor: str
    slots: int
    dags: str
    history: int
    workloads: tuple[str, ...]
    reference: bool = False
    # Dags that neither the bench triggers nor a workload unpauses.
    dags_of: Workload | None = None
    # Further lines of airfleet's fleet.yaml.
    fleet: tuple[str, ...] = ()

    @property
    def triggered(self) -> tuple[Workload, ...]:
        """Return the workloads whose Dags the bench triggers, with the warm-up."""
        chosen = [WORKLOADS[name] for name in self.workloads if not WORKLOADS[name].scheduled]
        return (WARMUP, *chosen, *((REFERENCE,) if self.reference else ()))

    @property
    def runner(self) -> str:
        """Return the component whose children are the tasks."""
        return "worker" if self.executor == "celery" else "scheduler"


@dataclass(frozen=True)
class System:
    """The handles of one running system. `find_roots` returns the process of each component."""

    name: str
    plan: Plan
    crew: Crew
    state: Path
    rest: Rest
    metadata: Metadata
    find_roots: Callable[[], Mapping[str, int]]
