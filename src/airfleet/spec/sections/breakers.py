"""The `breakers` section of fleet.yaml: services that tasks need, and how it shows that one is away."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from airfleet.spec.sections.section import Pattern, rule
from airfleet.spec.sections.service_tasks import ServiceTasksSection
from airfleet.spec.sections.slas import Duration, seconds_of
from airfleet_provider.contract.breaker_rules import BreakerRule

_DEFAULT = BreakerRule("")


class BreakerSection(ServiceTasksSection):
    """A service. While it is away, tasks that need it wait, without a slot and without the loss of a try."""

    errors: Annotated[list[Pattern], Field(min_length=1)] = Field(
        default=[*_DEFAULT.errors],
        description=(
            "Which errors say that the service is away: regular expressions of whole class names, such as "
            "`crm.errors.Busy`. `default` stands for refused and lost connections, time-outs, errors of TLS and of "
            "name resolution, HTTP 429 and 5xx, and databases that do not answer."
        ),
        examples=[["default", r"crm\.errors\..*"]],
    )
    failures: Annotated[int, Field(ge=1, le=100)] = Field(
        default=_DEFAULT.failures, description="The breaker opens when so many task instances failed within `within`."
    )
    workers: Annotated[int, Field(ge=1, le=100)] = Field(
        default=_DEFAULT.workers,
        description=(
            "They must have failed on so many worker hosts: one host may have lost its own network. "
            "A fleet with fewer worker hosts asks for as many as it has."
        ),
    )
    within: Duration = Field(default="1m", description="The time in which failures count together.")
    probe_after: Duration = Field(
        default="10s",
        description="The time from the opening to the first probe, a task that may run. Each failed probe doubles it.",
    )
    probe_at_most: Duration = Field(default="30s", description="The longest time between two probes.")
    free_waits: Annotated[int, Field(ge=0, le=100)] = Field(
        default=_DEFAULT.free_waits,
        description="How often a task instance that fails alone waits without the loss of a try, each hour.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> BreakerSection:
        if seconds_of(self.probe_at_most) < seconds_of(self.probe_after):
            raise rule("`probe_at_most` is shorter than `probe_after`", "write a longer `probe_at_most`")
        return self


def convert(name: str, written: BreakerSection, *, hosts: int) -> BreakerRule:
    """Return the rule of one entry. `hosts` is the number of worker hosts; 0 on one machine."""
    return BreakerRule(
        name=name,
        connection=written.connection,
        dag=written.dag,
        tag=written.tag,
        task=written.task,
        errors=tuple(written.errors),
        failures=written.failures,
        workers=min(written.workers, max(hosts, 1)),
        window_s=float(seconds_of(written.within)),
        probe_after_s=float(seconds_of(written.probe_after)),
        probe_at_most_s=float(seconds_of(written.probe_at_most)),
        free_waits=written.free_waits,
    )
