"""The section `limits` of fleet.yaml: how many tasks a service bears in a minute and at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from airfleet.spec.sections import breakers
from airfleet.spec.sections.breakers import BreakerSection
from airfleet.spec.sections.section import rule
from airfleet.spec.sections.service_tasks import ServiceTasksSection
from airfleet_provider.contract.breaker_rules import BreakerRule
from airfleet_provider.contract.service_limits import ServiceLimit


class ServiceLimitSection(ServiceTasksSection):
    """A limit for the tasks that call a service. Without an expression, they are those of the breaker of its name."""

    starts_per_minute: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None,
        description="So many tasks may start in a minute. Each try, and each look of a sensor, is a start.",
        examples=[30],
        json_schema_extra={"x-default": "without limit"},
    )
    at_once: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None,
        description="So many tasks may be queued, running or deferred.",
        examples=[5],
        json_schema_extra={"x-default": "without limit"},
    )

    @model_validator(mode="after")
    def _limits_something(self) -> ServiceLimitSection:
        if self.starts_per_minute is None and self.at_once is None:
            raise rule("it limits nothing", "write `starts_per_minute`, `at_once`, or both")
        return self


def convert(name: str, written: ServiceLimitSection, of_breakers: Mapping[str, BreakerSection]) -> ServiceLimit:
    """Return the limit of one entry."""
    service = BreakerRule(name, written.connection, written.dag, written.tag, written.task)
    if name in of_breakers:
        service = breakers.convert(name, of_breakers[name], hosts=0)
    return ServiceLimit(service, written.starts_per_minute, written.at_once)
