"""The section `jitter` of fleet.yaml: Dags whose crons begin a little later, each at a moment of its own."""

from __future__ import annotations

from pydantic import Field

from airfleet.spec.sections.section import Pattern, Section
from airfleet.spec.sections.slas import Duration, seconds_of
from airfleet_provider.contract.jitter_rules import JitterRule


class JitterSection(Section):
    """Runs of Dags that fit begin later than their cron says. The first entry that fits a Dag decides."""

    dag: Pattern | None = Field(
        default=None, description="The regular expression that a whole Dag id must match.", examples=["hourly_.*"]
    )
    within: Duration = Field(
        description="Each Dag has a delay of its own up to this, and at most half of the time between two of its runs."
        " `0s` leaves Dags as they are.",
        examples=["10m"],
    )


def convert(name: str, written: JitterSection) -> JitterRule:
    """Return the rule of one entry."""
    return JitterRule(name, written.dag, int(seconds_of(written.within)))
