"""The data-quality rules: which flights are loaded, and why the others are not.

A rule tells which rows break it. Missing values break no rule by accident: only `missing_value` asks for them.
A cancelled flight (no departure) and a diverted one (a departure, no arrival) are facts, not bad rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

import pandas as pd

from include.reasons import EARLIEST, FASTEST, LATEST, SLOWEST

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema

    from include.deliveries import Month

ORIGINS = ("EWR", "JFK", "LGA")
TEXTS = ("carrier", "tailnum", "origin", "dest", "time_hour")
NUMBERS = (
    "year", "month", "day", "dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time", "arr_delay",
    "flight", "air_time", "distance", "hour", "minute",
)  # fmt: skip
MANDATORY = (
    "year", "month", "day", "sched_dep_time", "sched_arr_time", "carrier", "flight", "origin", "dest", "distance",
    "hour", "minute", "time_hour",
)  # fmt: skip
KEY = ["year", "month", "day", "carrier", "flight", "origin", "sched_dep_time"]

# Looser than the registry's own rule: AA and MQ report fleet numbers dressed as registrations, such as N4WNAA.
REGISTRATION = r"N[0-9A-Z]{1,5}"


@dataclass(frozen=True)
class Facts:
    """What a month is judged against."""

    month: Month
    carriers: frozenset[str]
    airports: frozenset[str]


@dataclass(frozen=True)
class Rule:
    """A reason to refuse a row; include.reasons says it in words."""

    reason: str
    broken: Callable[[pd.DataFrame, Facts], pd.Series]


@dataclass(frozen=True)
class Verdict:
    """Every row of a month, either accepted or rejected with the first rule it breaks."""

    accepted: pd.DataFrame
    rejected: pd.DataFrame


def read_rows(csv: bytes) -> pd.DataFrame:
    """Return the rows as they were delivered: text, missing values empty, `line` as in the file."""
    rows = pd.read_csv(BytesIO(csv), dtype=str, keep_default_na=False, na_values=["", "NA"])
    if set(rows.columns) != {*NUMBERS, *TEXTS}:
        raise ValueError(f"unexpected columns: {sorted(set(rows.columns) ^ {*NUMBERS, *TEXTS})}")
    return rows.set_axis(pd.RangeIndex(2, len(rows) + 2, name="line"))


def read_facts(month: Month, airlines: bytes, airports: bytes) -> Facts:
    """Return what the reference files know."""
    read = partial(pd.read_csv, dtype=str, keep_default_na=False)
    return Facts(month, frozenset(read(BytesIO(airlines))["carrier"]), frozenset(read(BytesIO(airports))["faa"]))


def judge(raw: pd.DataFrame, facts: Facts) -> Verdict:
    """Split the rows of a month into accepted and rejected; no row is lost and none is in both."""
    typed = type_rows(raw)
    reasons = find_reasons(typed, facts)
    rejected = raw.loc[reasons.index].assign(reason=reasons)
    return Verdict(accepted=typed.drop(index=reasons.index), rejected=rejected)


def type_rows(raw: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with numbers and a departure in UTC; `unreadable` marks rows with text where a number belongs."""
    numbers = raw[list(NUMBERS)].apply(pd.to_numeric, errors="coerce").astype("float64")
    hour = pd.to_datetime(raw["time_hour"], format="%Y-%m-%dT%H:%M:%SZ", errors="coerce", utc=True)
    day = pd.to_datetime(numbers[["year", "month", "day"]], errors="coerce")
    typed = pd.concat([numbers, raw[list(TEXTS)]], axis=1)
    typed["scheduled_hour"] = hour
    typed["flight_date"] = day
    typed["unreadable"] = (
        (raw[list(NUMBERS)].notna() & (numbers.isna() | (numbers % 1 != 0))).any(axis=1)
        | (raw["time_hour"].notna() & hour.isna())
        | (numbers[["year", "month", "day"]].notna().all(axis=1) & day.isna())
    )
    return typed


def find_reasons(typed: pd.DataFrame, facts: Facts) -> pd.Series:
    """Return the reason of every row that breaks a rule: the first in the order of RULES."""
    from pandera.errors import SchemaErrors

    try:
        build_schema(facts).validate(typed, lazy=True)
    except SchemaErrors as errors:
        cases = errors.failure_cases
        strange = cases[cases["index"].isna()]
        if len(strange):
            raise ValueError(f"a rule did not run: {strange['failure_case'].iloc[0]}") from errors
        order = cases["check"].map({rule.reason: place for place, rule in enumerate(RULES)})
        first = order.groupby(cases["index"].astype(int)).min()
        return first.map(lambda place: RULES[place].reason).rename("reason").rename_axis("line")
    return pd.Series([], index=pd.Index([], name="line", dtype=int), name="reason", dtype=object)


def build_schema(facts: Facts) -> DataFrameSchema:
    """Return the rules as a pandera schema, one named check a rule."""
    import pandera.pandas as pa

    def hold(rule: Rule) -> pa.Check:
        return pa.Check(lambda frame: ~rule.broken(frame, facts), name=rule.reason, ignore_na=False)

    return pa.DataFrameSchema(checks=[hold(rule) for rule in RULES])


def _twice_in_the_air(rows: pd.DataFrame, _: Facts) -> pd.Series:
    leaves = rows["scheduled_hour"] + pd.to_timedelta(rows["minute"] + rows["dep_delay"], unit="min")
    flown = pd.DataFrame({"tailnum": rows["tailnum"], "leaves": leaves, "air_time": rows["air_time"]}).dropna()
    flown = flown.sort_values(["tailnum", "leaves"], kind="stable")
    landed = (flown["leaves"] + pd.to_timedelta(flown["air_time"], unit="min")).groupby(flown["tailnum"]).shift()
    return (flown["leaves"] < landed).reindex(rows.index, fill_value=False)


def _clock_differs(rows: pd.DataFrame, _: Facts) -> pd.Series:
    def minutes(time: pd.Series) -> pd.Series:
        return time // 100 * 60 + time % 100

    def off(actual: str, planned: str, delay: str) -> pd.Series:
        gap = minutes(rows[actual]) - minutes(rows[planned]) - rows[delay]
        return gap.notna() & (gap % 1440 != 0)

    return off("dep_time", "sched_dep_time", "dep_delay") | off("arr_time", "sched_arr_time", "arr_delay")


def _speed(rows: pd.DataFrame) -> pd.Series:
    return rows["distance"] / (rows["air_time"] / 60)


RULES: tuple[Rule, ...] = (
    Rule("unreadable", lambda r, _: r["unreadable"]),
    Rule("missing_value", lambda r, _: r[list(MANDATORY)].isna().any(axis=1)),
    Rule("wrong_month", lambda r, f: (r["year"] != f.month.year) | (r["month"] != f.month.number)),
    Rule("unknown_origin", lambda r, _: ~r["origin"].isin(ORIGINS)),
    Rule("unknown_carrier", lambda r, f: ~r["carrier"].isin(f.carriers)),
    Rule("unknown_destination", lambda r, f: ~r["dest"].isin(f.airports)),
    Rule("same_airport", lambda r, _: r["origin"] == r["dest"]),
    Rule("duplicate_flight", lambda r, _: r.duplicated(KEY)),
    Rule("missing_registration", lambda r, _: r["dep_time"].notna() & r["tailnum"].isna()),
    Rule(
        "foreign_registration", lambda r, _: r["tailnum"].notna() & ~r["tailnum"].str.fullmatch(REGISTRATION).eq(True)
    ),
    Rule("arrival_without_delay", lambda r, _: r["arr_time"].notna() & (r["arr_delay"].isna() | r["air_time"].isna())),
    Rule("clock_mismatch", _clock_differs),
    Rule("implausible_delay", lambda r, _: (r["dep_delay"] < EARLIEST) | (r["dep_delay"] > LATEST)),
    Rule("implausible_speed", lambda r, _: (_speed(r) < SLOWEST) | (_speed(r) > FASTEST)),
    Rule("aircraft_elsewhere", _twice_in_the_air),
)
