"""The `backups` section of fleet.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from airfleet.spec import fleet
from airfleet.spec.sections.section import Section

_DEFAULT = fleet.Backups()


class BackupsSection(Section):
    """Backups of the databases, and of every change since the oldest backup."""

    keep: Annotated[int, Field(ge=1, le=999)] = Field(
        default=_DEFAULT.keep,
        description="Backups that are kept, with the changes since the oldest of them. Older ones are deleted.",
    )
    every_hours: Annotated[int, Field(ge=1, le=168)] = Field(
        default=_DEFAULT.every_hours, description="Hours between two backups that the primary database host makes."
    )
    folder: Annotated[str, Field(pattern=r"^/[A-Za-z0-9/._-]+$")] = Field(
        default=_DEFAULT.folder,
        description="The folder of the backups on the database hosts. Best: all of them mount it from another machine.",
        examples=["/mnt/backups"],
    )
