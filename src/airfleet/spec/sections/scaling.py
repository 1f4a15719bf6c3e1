"""The key `scale` of a pool of workers in fleet.yaml: how many slots the pool has, and when."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from airfleet.spec import topology
from airfleet.spec.sections.section import Section, rule, shaped
from airfleet.spec.sections.slas import Day, Duration, Zone, seconds_of
from airfleet_provider.contract.slot_rules import Hours

_CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"


class ScaleHoursSection(Section):
    """Other limits at a time of day. The first entry that holds decides."""

    between: Annotated[str, *shaped(f"{_CLOCK}-{_CLOCK}", "two times of day such as 22:00-06:00")] = Field(
        description="From when to when. It may pass midnight, and then belongs to the day on which it began.",
        examples=["22:00-06:00"],
    )
    days: Annotated[list[Day], Field(min_length=1)] = Field(
        default=["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
        description="The days on which it begins.",
        examples=[["sat", "sun"]],
    )
    min: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="The least slots of the pool then.",
        examples=[1],
        json_schema_extra={"x-default": "scale.min"},
    )
    max: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="The most slots of the pool then.",
        examples=[4],
        json_schema_extra={"x-default": "scale.max"},
    )

    @model_validator(mode="after")
    def _check(self) -> ScaleHoursSection:
        begins, _, ends = self.between.partition("-")
        if begins == ends:
            raise rule(f"{self.between} is no time", "write two different times of day, or leave the entry out")
        _check_limits(self.min, self.max)
        return self


class ScaleSection(Section):
    """How many slots the pool has: as many as its tasks need, between limits. Slots are those of all its hosts."""

    min: Annotated[int, Field(ge=1)] = Field(
        default=1, description="The least slots of the pool. Without `pack`, each host has at least one in any case."
    )
    max: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="The most slots of the pool.",
        examples=[32],
        json_schema_extra={"x-default": "`concurrency` of each of its hosts"},
    )
    calm: Duration = Field(
        default="60s", description="Slots are taken away when they were not needed for so long.", examples=["5m"]
    )
    hours: list[ScaleHoursSection] = Field(
        default=[], description="Other limits at times of day.", examples=[[{"between": "22:00-06:00", "max": 1}]]
    )
    timezone: Zone = Field(default="UTC", description="The time zone of `hours`.", examples=["Europe/Berlin"])
    pack: bool = Field(
        default=True,
        description="Tasks go to as few hosts as can run them, and the other hosts become empty. With `false`, all"
        " hosts get tasks in turn, and each keeps a slot.",
    )

    ahead: Duration | None = Field(
        default=None,
        description="The time until a host that is made or switched on takes tasks. Hosts are needed so long before the"
        " crons of Dags come, by what their last runs needed.",
        examples=["90s"],
        json_schema_extra={"x-default": "when the tasks are there"},
    )

    @model_validator(mode="after")
    def _check(self) -> ScaleSection:
        _check_limits(self.min, self.max)
        return self


def _check_limits(least: int | None, most: int | None) -> None:
    if least is not None and most is not None and least > most:
        raise rule(f"min is {least} and max is {most}", "write a `max` that is not below `min`")


def convert(written: ScaleSection) -> topology.Scale:
    """Return the frozen value of the section."""
    hours = tuple(_convert_hours(one) for one in written.hours)
    return topology.Scale(
        written.min,
        written.max,
        float(seconds_of(written.calm)),
        written.timezone,
        hours,
        written.pack,
        float(seconds_of(written.ahead)) if written.ahead else 0.0,
    )


def _convert_hours(written: ScaleHoursSection) -> Hours:
    begins, _, ends = written.between.partition("-")
    return Hours(begins, ends, tuple(written.days), written.min, written.max)
