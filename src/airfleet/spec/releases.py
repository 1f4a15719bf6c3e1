"""The `releases` section of fleet.yaml as people write it: how a release is watched once it is live."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from airfleet.spec import fleet
from airfleet.spec.section import Section

_DEFAULT = fleet.Releases()


class Releases(Section):
    """What becomes of releases, with `dags: releases`."""

    watch_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        default=_DEFAULT.watch_seconds,
        description="Seconds for which a promoted release is watched, and rolled back when it does badly; 0 is never.",
    )
    max_failure_rate: Annotated[float, Field(ge=0, le=1)] = Field(
        default=_DEFAULT.max_failure_rate,
        description="How much more of its task attempts may fail than of the release before: 0.25 is a quarter.",
    )
    min_task_ends: Annotated[int, Field(ge=1)] = Field(
        default=_DEFAULT.min_task_ends,
        description="Task attempts that must have ended before their failures count.",
    )
