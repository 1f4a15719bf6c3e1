"""The tasks of a Dag, from its serialised form: what each task waits for, and its limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

DEFAULT_RETRY_DELAY_S = 300.0
MAX_RETRY_DELAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """What the Dag says of one task. Delays are in seconds. `mapped_group` is the closest mapped task group."""

    task: str
    upstream: frozenset[str]
    trigger_rule: str
    depends_on_past: bool
    wait_for_downstream: bool
    ignore_first_depends_on_past: bool
    downstream: frozenset[str]
    max_active_per_dag: int | None
    max_active_per_run: int | None
    retry_delay_s: float
    retry_backoff: float
    max_retry_delay_s: float | None
    is_setup: bool
    is_teardown: bool
    is_mapped: bool
    mapped_group: str | None


@dataclass(frozen=True, slots=True)
class DagSpec:
    """What the serialised Dag says of the whole Dag."""

    tasks: Mapping[str, TaskSpec]
    catchup: bool

    def list_relatives(self, task: str, *, upstream: bool) -> frozenset[str]:
        """Return all tasks before a task, or all tasks after it, also the indirect ones."""
        found: set[str] = set()
        left = [task]
        while left:
            spec = self.tasks.get(left.pop())
            near = (spec.upstream if upstream else spec.downstream) if spec else frozenset[str]()
            left.extend(near - found)
            found |= near
        return frozenset(found & self.tasks.keys())

    def list_setups(self, task: str) -> frozenset[str]:
        """Return the setup tasks that must succeed before a task: those without a teardown before the task."""
        after = {name for name in self.list_relatives(task, upstream=False) if self.tasks[name].is_teardown}
        found = set()
        for name in self.list_relatives(task, upstream=True):
            below = self.tasks[name].downstream
            ends = any(self.tasks[one].is_teardown for one in below if one in self.tasks)
            if self.tasks[name].is_setup and (not ends or below & after):
                found.add(name)
        return frozenset(found)

    def list_scope(self, teardown: str) -> frozenset[str]:
        """Return the tasks between a teardown and its setups that are not directly before the teardown."""
        direct = self.tasks[teardown].upstream
        indirect = self.list_relatives(teardown, upstream=True) - direct
        setups = [name for name in direct if name in self.tasks and self.tasks[name].is_setup]
        return frozenset(one for name in setups for one in indirect & self.list_relatives(name, upstream=False))


def read(data: Mapping[str, Any]) -> DagSpec:
    """Return what a serialised Dag says of its tasks. Missing values are Airflow's defaults.

    Raises:
        KeyError: This is no serialised Dag that this version knows.
    """
    dag = data["dag"]
    defaults = (data.get("client_defaults") or {}).get("tasks") or {}
    written = [_unwrap(one) for one in dag["tasks"]]
    upstream: dict[str, set[str]] = {one["task_id"]: set() for one in written}
    for one in written:
        for below in one.get("downstream_task_ids") or ():
            upstream.setdefault(below, set()).add(one["task_id"])
    groups = dict(_list_mapped(dag.get("task_group") or {}, None))
    tasks = {
        one["task_id"]: _read_task({**defaults, **one.get("partial_kwargs", {}), **one}, upstream, groups)
        for one in written
    }
    return DagSpec(tasks, bool(dag.get("catchup", False)))


def _read_task(one: Mapping[str, Any], upstream: Mapping[str, set[str]], groups: Mapping[str, str]) -> TaskSpec:
    name = one["task_id"]
    delay, longest = _seconds(one.get("retry_delay")), _seconds(one.get("max_retry_delay"))
    return TaskSpec(
        task=name,
        upstream=frozenset(upstream[name]),
        trigger_rule=str(_unwrap(one.get("trigger_rule") or "all_success")),
        depends_on_past=bool(one.get("depends_on_past")),
        wait_for_downstream=bool(one.get("wait_for_downstream")),
        ignore_first_depends_on_past=bool(one.get("ignore_first_depends_on_past")),
        downstream=frozenset(one.get("downstream_task_ids") or ()),
        max_active_per_dag=one.get("max_active_tis_per_dag"),
        max_active_per_run=one.get("max_active_tis_per_dagrun"),
        retry_delay_s=DEFAULT_RETRY_DELAY_S if delay is None else delay,
        retry_backoff=float(one.get("retry_exponential_backoff") or 0),
        max_retry_delay_s=longest,
        is_setup=bool(one.get("is_setup")),
        is_teardown=bool(one.get("is_teardown")),
        is_mapped=bool(one.get("_is_mapped")),
        mapped_group=groups.get(name),
    )


def _list_mapped(group: Mapping[str, Any], mapped: str | None) -> Iterator[tuple[str, str]]:
    """Yield each task inside a mapped task group with the closest one."""
    mapped = group.get("_group_id") if group.get("is_mapped") else mapped
    for name, (kind, child) in (group.get("children") or {}).items():
        if kind == "taskgroup":
            yield from _list_mapped(_unwrap(child), mapped)
        elif mapped:
            yield name, mapped


def _unwrap(value: Any) -> Any:  # noqa: ANN401 - JSON
    return value["__var"] if isinstance(value, Mapping) and "__var" in value else value


def _seconds(value: object) -> float | None:
    plain = _unwrap(value)
    return float(plain) if isinstance(plain, int | float) else None
