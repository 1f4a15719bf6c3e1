"""The `monitoring` section of fleet.yaml: what the monitor hosts keep, and who else may read it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from airfleet.spec import fleet
from airfleet.spec.sections.hosts import Address, Size
from airfleet.spec.sections.section import Section

_DEFAULT = fleet.Monitoring()


class MonitoringSection(Section):
    """Prometheus and Alertmanager, which run on the hosts with the role monitor."""

    retention: Annotated[int, Field(ge=1, le=3650)] = Field(
        default=_DEFAULT.retention, description="Days that Prometheus keeps metrics."
    )
    size: Size = Field(
        default=_DEFAULT.size, description="Room that metrics may take on each monitor host. The oldest go first."
    )
    readers: list[Address] = Field(
        default=[],
        description="Addresses outside the fleet that the firewall lets read Prometheus, such as Grafana's.",
        examples=[["10.0.9.5"]],
    )
