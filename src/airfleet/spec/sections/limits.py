"""The section `task_limits` of fleet.yaml: what one task may use of its host."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from airfleet.spec.sections.hosts import Name, Size, bytes_of
from airfleet.spec.sections.section import Pattern, Section, rule
from airfleet_provider.contract.task_limits import LEAST_CPUS, LEAST_MEMORY, MOST_CPUS, LimitRule, TaskLimits


class TaskLimitSection(Section):
    """Limits for each task that fits all of the expressions. The first entry that fits a task decides."""

    pool: Name | None = Field(default=None, description="The pool of workers that runs the task.", examples=["memory"])
    dag: Pattern | None = Field(
        default=None, description="The regular expression that a whole Dag id must match.", examples=["sales_.*"]
    )
    task: Pattern | None = Field(
        default=None, description="The regular expression that a whole task id must match.", examples=["load_.*"]
    )
    memory: Size | None = Field(
        default=None,
        description="Memory of the task with all its processes. The kernel kills a task that wants more.",
        examples=["2G"],
        json_schema_extra={"x-default": "without limit of its own"},
    )
    memory_high: Size | None = Field(
        default=None,
        description="Memory above which the kernel slows the task down, and takes memory back that it can.",
        examples=["1500M"],
        json_schema_extra={"x-default": "without limit of its own"},
    )
    cpu_weight: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None,
        description="Share of busy CPUs. Other tasks with limits have 100 each, all without limits have 1000 together.",
        examples=[50],
        json_schema_extra={"x-default": "100"},
    )
    cpus_high: Annotated[float, Field(ge=LEAST_CPUS, le=MOST_CPUS)] | None = Field(
        default=None,
        description="CPUs. A task that uses more for over a second gets only the CPU time that nobody else wants.",
        examples=[1],
        json_schema_extra={"x-default": "without limit of its own"},
    )
    pids: Annotated[int, Field(ge=8, le=1 << 22)] | None = Field(
        default=None,
        description="Processes and threads of the task.",
        examples=[200],
        json_schema_extra={"x-default": "without limit of its own"},
    )

    disk_rate: Size | None = Field(
        default=None,
        description="Bytes a second that the task reads, and that it writes, at most, for each disk of the host.",
        examples=["50M"],
        json_schema_extra={"x-default": "without limit of its own"},
    )

    @model_validator(mode="after")
    def _check(self) -> TaskLimitSection:
        for size in (self.memory, self.memory_high):
            if size is not None and bytes_of(size) < LEAST_MEMORY:
                raise rule(f"no task can begin with {size}", f"write {LEAST_MEMORY >> 20}M or more")
        if self.memory and self.memory_high and bytes_of(self.memory_high) > bytes_of(self.memory):
            raise rule("`memory_high` is above `memory`", "write a lower `memory_high`")
        if not convert("", self).limits.is_any:
            raise rule("this entry limits nothing", "add `memory`, `cpus_high`, `disk_rate`, `pids` or another limit")
        return self


def convert(name: str, written: TaskLimitSection) -> LimitRule:
    """Return the rule of one entry."""
    limits = TaskLimits(
        bytes_of(written.memory) if written.memory else None,
        bytes_of(written.memory_high) if written.memory_high else None,
        written.cpu_weight,
        written.pids,
        written.cpus_high,
        bytes_of(written.disk_rate) if written.disk_rate else None,
    )
    return LimitRule(name, written.pool, written.dag, written.task, limits)
