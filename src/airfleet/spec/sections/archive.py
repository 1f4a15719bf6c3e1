"""The `archive` section of fleet.yaml as people write it: which runs leave the metadata database, and where they go."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from airfleet.spec import fleet
from airfleet.spec.sections.section import Section, check_store

_DEFAULT = fleet.Archive()


def _place(store: str) -> str:
    return check_store(store, "write /a/folder, or a URL such as s3://bucket/runs")


class ArchiveSection(Section):
    """What `airfleet db archive` does with finished runs."""

    retention: Annotated[int, Field(ge=1, le=36_500)] = Field(
        default=_DEFAULT.retention, description="Days that a finished run stays in the metadata database."
    )
    store: Annotated[str, AfterValidator(_place)] | None = Field(
        default=None,
        description="Where archived runs are: a folder that every scheduler host sees, or a URL that fsspec knows.",
        examples=["s3://bucket/airflow-runs"],
        json_schema_extra={"x-default": "on one machine, the folder `archive` of the state folder"},
    )
    every_hours: Annotated[int, Field(ge=1, le=168)] | None = Field(
        default=None,
        description="Hours between two archives that the platform makes by itself, each with the `budget`.",
        examples=[6],
        json_schema_extra={"x-default": "none: only `airfleet db archive run` archives"},
    )
    budget: Annotated[int, Field(ge=1)] = Field(
        default=_DEFAULT.budget, description="Seconds after which one call begins no new batch; the next call goes on."
    )
    pause: Annotated[float, Field(ge=0, le=100)] = Field(
        default=_DEFAULT.pause,
        description="Rest after each transaction that deletes rows, as a multiple of the time that it took.",
    )
