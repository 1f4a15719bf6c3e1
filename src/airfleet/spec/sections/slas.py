"""The `slas` section of fleet.yaml: promises about when Dags, tasks and assets are ready."""

from __future__ import annotations

import re
import zoneinfo
from datetime import date, time
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from airfleet.spec.sections.section import Pattern, Section, rule, shaped
from airfleet_provider.contract.sla_rules import DAYS, Calendar, PromiseKind, SlaRule

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
DURATION_PATTERN = r"(?:[1-9][0-9]{0,5}[smhd])+"
_DURATION = re.compile(DURATION_PATTERN)
_LONGEST_S = 366 * 86_400

# The key of each kind.
KINDS = {kind: kind.value.replace("-", "_") for kind in PromiseKind}
_DAG_SELECTORS = ("dag", "tag", "owner", "task")


def seconds_of(text: str) -> int:
    """Return the seconds of a duration such as 90s, 45m, 2h or 1h30m; raises ValueError for another text."""
    if not _DURATION.fullmatch(text):
        raise ValueError(text)
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)([smhd])", text))


def check_duration(text: str) -> str:
    """Return a duration as it is written. It is no more than a year."""
    if not _DURATION.fullmatch(text):
        raise rule(f"expected a duration, found {text!r}", "write it as 90s, 45m, 2h or 1h30m")
    if seconds_of(text) > _LONGEST_S:
        raise rule(f"{text} is longer than a year", "write a shorter duration")
    return text


def _zone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise rule(f"unknown time zone {name!r}", "write a name of the IANA database, such as Europe/Berlin") from None
    return name


def _day(text: str) -> str:
    try:
        date.fromisoformat(text)
    except ValueError:
        raise rule(f"{text!r} is not a date", "write it as 2026-12-25") from None
    return text


Duration = Annotated[
    str,
    AfterValidator(check_duration),
    WithJsonSchema({"type": "string", "pattern": f"^{DURATION_PATTERN}$"}),
]
LocalTime = Annotated[str, *shaped("([01][0-9]|2[0-3]):[0-5][0-9]", "a time of day such as 06:00")]
Zone = Annotated[str, AfterValidator(_zone)]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Date = Annotated[str, AfterValidator(_day), *shaped("[0-9]{4}-[0-9]{2}-[0-9]{2}", "a date such as 2026-12-25")]


class SlaSection(Section):
    """Promises about the Dags, tasks or assets that fit all of the expressions. No Dag is edited."""

    dag: Pattern | None = Field(
        default=None, description="The regular expression that a whole Dag id must match.", examples=["sales_.*"]
    )
    tag: Pattern | None = Field(
        default=None, description="The regular expression that a whole tag of the Dag must match.", examples=["daily"]
    )
    owner: Pattern | None = Field(
        default=None, description="The regular expression that a whole owner of the Dag must match.", examples=["bi"]
    )
    task: Pattern | None = Field(
        default=None,
        description="The promise is about each task whose whole id this regular expression matches, not about the Dag.",
        examples=["load_.*"],
    )
    asset: Pattern | None = Field(
        default=None,
        description="For `fresh_by`: the regular expression that the whole name or URI of an asset must match.",
        examples=["sales"],
    )
    finished_by: LocalTime | None = Field(
        default=None,
        description="The last run before this local time has succeeded by then.",
        examples=["06:00"],
    )
    no_longer_than: Duration | None = Field(
        default=None, description="A run ends within this time of its start.", examples=["2h"]
    )
    starts_within: Duration | None = Field(
        default=None,
        description="A run starts its first task within this time of its schedule, also when no run was made.",
        examples=["5m"],
    )
    fresh_by: LocalTime | None = Field(
        default=None, description="The asset was updated by this local time.", examples=["07:00"]
    )
    must_run: Duration | None = Field(
        default=None, description="A run succeeds at least once in this time.", examples=["26h"]
    )
    zone: Zone = Field(default="UTC", description="The time zone of local times.", examples=["Europe/Berlin"])
    days: Annotated[list[Day], Field(min_length=1)] = Field(
        default=[*get_args(Day)],
        description="The days of the week on which `finished_by` and `fresh_by` apply.",
        examples=[["mon", "tue", "wed", "thu", "fri"]],
    )
    holidays: list[Date] = Field(
        default=[],
        description="The dates on which `finished_by` and `fresh_by` do not apply.",
        examples=[["2026-12-25"]],
    )
    since: LocalTime | None = Field(
        default=None,
        description="Runs and updates count for `finished_by` and `fresh_by` from this local time on.",
        examples=["22:00"],
        json_schema_extra={"x-default": "the time of the promise, the day before"},
    )
    severity: Literal["warning", "critical"] = Field(
        default="critical", description="The severity of the alert when a promise is late. At risk is a warning."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> SlaSection:
        given = [key for key in KINDS.values() if getattr(self, key) is not None]
        about_dags = [key for key in _DAG_SELECTORS if getattr(self, key) is not None]
        if not given:
            raise rule("promises nothing", f"add one of {', '.join(KINDS.values())}")
        if self.fresh_by is not None and self.asset is None:
            raise rule("`fresh_by` is about assets, and `asset` is not there", "add `asset: NAME`")
        if self.asset is not None and self.fresh_by is None:
            raise rule("`asset` is there, and nothing is promised about it", "add `fresh_by: 07:00`")
        if given != ["fresh_by"] and not about_dags:
            raise rule("selects no Dag", f"add one of {', '.join(_DAG_SELECTORS)}; `dag: .*` is every Dag")
        if given == ["fresh_by"] and about_dags:
            raise rule(f"`fresh_by` is about assets, and `{about_dags[0]}` is about Dags", f"remove `{about_dags[0]}`")
        return self


def convert(name: str, written: SlaSection) -> tuple[SlaRule, ...]:
    """Return a rule for each promise of one entry."""
    calendar = Calendar(
        written.zone,
        frozenset(DAYS.index(one) for one in written.days),
        frozenset(date.fromisoformat(one) for one in written.holidays),
    )
    rules = []
    for kind, key in KINDS.items():
        promised: str | None = getattr(written, key)
        if promised is None:
            continue
        is_daily = kind in (PromiseKind.FINISHED_BY, PromiseKind.FRESH_BY)
        about_dags = {} if kind is PromiseKind.FRESH_BY else {key: getattr(written, key) for key in _DAG_SELECTORS}
        rules.append(
            SlaRule(
                name=name,
                kind=kind,
                **about_dags,
                asset=written.asset if kind is PromiseKind.FRESH_BY else None,
                at=time.fromisoformat(promised) if is_daily else None,
                limit_s=None if is_daily else float(seconds_of(promised)),
                since=time.fromisoformat(written.since) if written.since and is_daily else None,
                calendar=calendar,
                severity=written.severity,
            )
        )
    return tuple(rules)
