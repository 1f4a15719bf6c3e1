"""The `slot_pools` section of fleet.yaml: Airflow's limits on concurrent tasks."""

from __future__ import annotations

from pydantic import Field

from airfleet.spec.sections.section import Section


class SlotPoolSection(Section):
    """An Airflow pool of task slots."""

    slots: int = Field(ge=-1, description="Tasks that may run at once; -1 means no limit.", examples=[2])
    description: str = Field(default="", description="What the pool protects.", examples=["Writes to the CRM"])
    include_deferred: bool = Field(default=False, description="Whether deferred tasks keep their slot.")
