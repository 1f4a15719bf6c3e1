"""The `releases` section of fleet.yaml: where releases are kept, and how a live release is watched."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from airfleet.spec import fleet
from airfleet.spec.sections.section import Section, check_store

_DEFAULT = fleet.Releases()


def _place(store: str) -> str:
    if store == "database":
        return store
    return check_store(store, "write database, /a/folder, or a URL such as s3://bucket/releases")


class ReleasesSection(Section):
    """How releases are kept and watched, with `dags: releases`."""

    store: Annotated[str, AfterValidator(_place)] = Field(
        default=_DEFAULT.store,
        description="Where releases are kept: `database`, a folder that every host sees, or a URL that fsspec knows.",
        examples=["file:///mnt/nfs/releases"],
    )
    keep: Annotated[int, Field(ge=2)] = Field(
        default=_DEFAULT.keep,
        description="Releases kept although nothing needs them: the last N live ones, and the last N built ones.",
    )
    watch_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        default=_DEFAULT.watch_seconds,
        description="Seconds after a promotion in which a bad release is rolled back automatically; 0 means never.",
    )
    max_failure_rate: Annotated[float, Field(ge=0, le=1)] = Field(
        default=_DEFAULT.max_failure_rate,
        description="How much the share of failed attempts may exceed that of the release before; 0.25 is a quarter.",
    )
    min_task_ends: Annotated[int, Field(ge=1)] = Field(
        default=_DEFAULT.min_task_ends,
        description="Task attempts that must have ended before the failure rate counts.",
    )
