"""Which tasks call a service, as breakers and limits say it."""

from __future__ import annotations

from pydantic import Field

from airfleet.spec.sections.section import Pattern, Section


class ServiceTasksSection(Section):
    """The tasks that call a service: those that every expression given here matches."""

    connection: Pattern | None = Field(
        default=None,
        description=(
            "The tasks that use a connection whose whole id this regular expression matches. The other expressions "
            "narrow that down."
        ),
        examples=["crm"],
    )
    dag: Pattern | None = Field(
        default=None, description="The regular expression that a whole Dag id must match.", examples=["sales_.*"]
    )
    tag: Pattern | None = Field(
        default=None, description="The regular expression that a whole tag of the Dag must match.", examples=["crm"]
    )
    task: Pattern | None = Field(
        default=None, description="The regular expression that a whole task id must match.", examples=["load_.*"]
    )
