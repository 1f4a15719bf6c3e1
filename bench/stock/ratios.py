"""Compare the runs of two systems: medians, ratios and a table. No I/O."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

STOCK, OWN = "stock", "airfleet"
BAR_EXECUTOR = "celery"

Record = Mapping[str, Any]
Path = tuple[str, ...]

WALL: Path = ("wall_s",)
RATE: Path = ("tasks_per_s",)
START_P95: Path = ("phases_s", "queued_running", "p95")
MAY_RUN_P95: Path = ("phases_s", "may_run_running", "p95")
CPU: Path = ("cpu_s_per_task", "all")

# The name of a ratio, its workload, its figure, and whether a larger figure is better.
BARS: tuple[tuple[str, str, Path, bool], ...] = (
    ("seq40_wall", "seq40", WALL, False),
    ("wide_rate", "wide", RATE, True),
    ("chain_start_p95", "chain", START_P95, False),
    ("chain_may_run_p95", "chain", MAY_RUN_P95, False),
    ("cpu_per_task", "wide", CPU, False),
)
ROWS: tuple[tuple[str, Path, bool], ...] = (
    ("wall, s", WALL, False),
    ("tasks/s", RATE, True),
    ("may run -> running p50, s", ("phases_s", "may_run_running", "p50"), False),
    ("may run -> running p95, s", MAY_RUN_P95, False),
    ("may run -> running p99, s", ("phases_s", "may_run_running", "p99"), False),
    ("finished -> next ready p50, s", ("phases_s", "finished_ready", "p50"), False),
    ("ready -> queued p95, s", ("phases_s", "ready_queued", "p95"), False),
    ("queued -> running p50, s", ("phases_s", "queued_running", "p50"), False),
    ("queued -> running p95, s", START_P95, False),
    ("running -> finished p50, s", ("phases_s", "running_finished", "p50"), False),
    ("CPU-s a task", CPU, False),
    ("peak PSS, MiB", ("peak_pss_mib",), False),
    ("connections a task", ("connections_per_task",), False),
    ("transactions a task", ("transactions_per_task",), False),
)


def read_figure(figures: Record, path: Path) -> float | None:
    """Return one figure of a record, or None if the record lacks it."""
    value: Any = figures
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, int | float) else None


def take_medians(records: Iterable[Record]) -> dict[tuple[str, str, int, str], dict[str, Any]]:
    """Return each figure's median over the rounds, by system, executor, old task instances and workload."""
    groups: dict[tuple[str, str, int, str], list[Record]] = defaultdict(list)
    for record in records:
        key = (record["system"], record["executor"], record["history"], record["workload"])
        groups[key].append(record["figures"])
    return {key: _merge(figures) for key, figures in groups.items()}


def _merge(values: Sequence[Any]) -> Any:
    present = [value for value in values if value is not None]
    if not present:
        return None
    if isinstance(present[0], Mapping):
        keys = {key: None for value in present for key in value}
        return {key: _merge([value.get(key) for value in present]) for key in keys}
    return round(statistics.median(present), 4)


def divide(stock: float | None, own: float | None, *, more_is_better: bool) -> float | None:
    """Return how many times better airfleet is, or None if a figure is missing or zero."""
    if not stock or not own:
        return None
    return round(own / stock if more_is_better else stock / own, 2)


def compare(medians: Mapping[tuple[str, str, int, str], Record]) -> dict[str, Any]:
    """Return the ratios that have bars (Celery, no old task instances), and the slowdown by old task instances."""
    ratios: dict[str, Any] = {}
    for name, workload, path, more in BARS:
        pair = [medians.get((system, BAR_EXECUTOR, 0, workload), {}) for system in (STOCK, OWN)]
        ratios[name] = divide(read_figure(pair[0], path), read_figure(pair[1], path), more_is_better=more)
    for system, name in ((OWN, "history_slowdown"), (STOCK, "stock_history_slowdown")):
        ratios[name] = measure_slowdown(medians, system)
    return ratios


def measure_slowdown(medians: Mapping[tuple[str, str, int, str], Record], system: str) -> float | None:
    """Return the worst ratio of wall times with and without old task instances, over workloads that ran both ways."""
    slowdowns = []
    for (name, executor, history, workload), figures in medians.items():
        if name == system and history:
            before = read_figure(medians.get((name, executor, 0, workload), {}), WALL)
            after = read_figure(figures, WALL)
            if before and after:
                slowdowns.append(after / before)
    return round(max(slowdowns), 3) if slowdowns else None


def find_slower(medians: Mapping[tuple[str, str, int, str], Record]) -> list[str]:
    """Return the workloads that take longer on airfleet than on stock."""
    slower = []
    for (system, executor, history, workload), figures in sorted(medians.items()):
        if system == OWN:
            stock = read_figure(medians.get((STOCK, executor, history, workload), {}), WALL)
            own = read_figure(figures, WALL)
            if stock and own and own > stock:
                slower.append(f"{workload}/{executor}" + (f"/{history}" if history else ""))
    return slower


def render(medians: Mapping[tuple[str, str, int, str], Record]) -> str:
    """Return a table of both systems for each workload and executor. A ratio above 1 means that airfleet is better."""
    lines = []
    keys = dict.fromkeys((executor, history, workload) for _, executor, history, workload in sorted(medians))
    for executor, history, workload in keys:
        pair = [medians.get((system, executor, history, workload), {}) for system in (STOCK, OWN)]
        old = f", {history:,} old task instances" if history else ""
        lines.append(f"\n{workload} ({executor}{old})".ljust(42) + f"{STOCK:>11}{OWN:>11}{'ratio':>9}")
        for label, path, more in ROWS:
            values = [read_figure(figures, path) for figures in pair]
            if values == [None, None]:
                continue
            ratio = divide(*values, more_is_better=more)
            cells = "".join(f"{'-' if value is None else f'{value:.2f}':>11}" for value in values)
            lines.append(f"  {label:<39}{cells}{'-' if ratio is None else f'{ratio:.2f}x':>9}")
    return "\n".join(lines).lstrip("\n")


def render_cpu(medians: Mapping[tuple[str, str, int, str], Record]) -> str:
    """Return CPU-seconds per task by kind of process, for each workload, with Celery or else with LocalExecutor."""
    lines = []
    for key, figures in sorted(medians.items()):
        kinds = figures.get("cpu_s_per_task", {})
        cells = ", ".join(f"{kind} {value:.3f}" for kind, value in kinds.items() if kind != "all" and value >= 0.0005)
        lines.append(f"{key[3]:<7}{key[1]:<8}{key[0]:<10}{cells}")
    return "\n".join(lines)


def find_held(steps: Iterable[Record]) -> dict[str, float]:
    """Return the fastest step of the reference load that held before the first that did not, by system and executor."""
    held: dict[str, float] = {}
    lost: set[str] = set()
    for step in sorted(steps, key=lambda step: step["times_real_time"]):
        name = f"{step['system']}/{step['executor']}"
        if not step["held"]:
            lost.add(name)
        elif name not in lost:
            held[name] = step["times_real_time"]
    return held
