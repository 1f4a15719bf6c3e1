"""The section `jitter` of fleet.yaml: Dags whose crons begin a little later, each at a moment of its own."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from airfleet.spec.sections.section import Pattern, Section
from airfleet.spec.sections.slas import DURATION_PATTERN, check_duration, seconds_of
from airfleet_provider.contract.jitter_rules import JitterRule

NOT_LATER = "0s"


def _check(text: str) -> str:
    return text if text == NOT_LATER else check_duration(text)


class JitterSection(Section):
    """Runs of Dags that fit begin later than their cron says. The first entry that fits a Dag decides."""

    dag: Pattern | None = Field(
        default=None, description="The regular expression that a whole Dag id must match.", examples=["hourly_.*"]
    )
    within: Annotated[
        str,
        AfterValidator(_check),
        WithJsonSchema({"type": "string", "pattern": f"^(?:{NOT_LATER}|{DURATION_PATTERN})$"}),
    ] = Field(
        description="Each Dag has a delay of its own up to this, and at most half of the time between two of its runs."
        " `0s` leaves Dags as they are.",
        examples=["10m"],
    )


def convert(name: str, written: JitterSection) -> JitterRule:
    """Return the rule of one entry."""
    within_s = 0 if written.within == NOT_LATER else seconds_of(written.within)
    return JitterRule(name, written.dag, within_s)
