"""What a dashboard is, as plain data: panels with queries of Prometheus. Grafana draws it, and so can Airflow's UI."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Draw(StrEnum):
    """How a panel shows the answer to its queries."""

    LINES = "lines"
    # The newest value of each series, as a number.
    NUMBER = "number"
    # The newest value of each series, as a row with its labels.
    TABLE = "table"


class PanelUnit(StrEnum):
    """The unit of a panel's values, in Grafana's words."""

    COUNT = "short"
    SECONDS = "s"
    BYTES = "bytes"
    # Of 1.
    RATIO = "percentunit"
    PER_SECOND = "ops"
    # Seconds since 1970.
    MOMENT = "dateTimeFromNow"
    # 1 or 0.
    YES = "bool_yes_no"


@dataclass(frozen=True, slots=True)
class Query:
    """One query in PromQL. `legend` names a series; `{{label}}` in it is the value of a label."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `limit` is the objective or the limit that is drawn; values are bad above it, or `below` it.

    `width` counts columns of 24.
    """

    title: str
    help: str
    queries: tuple[Query, ...]
    unit: PanelUnit = PanelUnit.COUNT
    draw: Draw = Draw.LINES
    limit: float | None = None
    below: bool = False
    width: int = 12


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard. `name` identifies it in addresses and names of files, and never changes."""

    name: str
    title: str
    help: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class TimelineMark:
    """An event that each dashboard marks on the time line: the moments at which the query has a value."""

    title: str
    expr: str
    text: str


def lines(
    title: str, text: str, unit: PanelUnit, *queries: Query, limit: float | None = None, width: int = 12
) -> Panel:
    """Return a panel with lines over time."""
    return Panel(title, text, queries, unit, limit=limit, width=width)


def number(
    title: str,
    text: str,
    unit: PanelUnit,
    expr: str,
    *,
    legend: str = "",
    limit: float | None = None,
    below: bool = False,
) -> Panel:
    """Return a narrow panel with the newest value."""
    return Panel(title, text, (Query(expr, legend),), unit, Draw.NUMBER, limit, below, width=6)


def table(title: str, text: str, unit: PanelUnit, expr: str, *, width: int = 12) -> Panel:
    """Return a panel with a row for each series."""
    return Panel(title, text, (Query(expr),), unit, Draw.TABLE, width=width)


def quantiles(metric: str, by: str = "") -> tuple[Query, ...]:
    """Return the median, the 95th and the 99.9th percentile of a histogram over five minutes."""
    labels = f"le, {by}" if by else "le"
    name = f"{{{{{by}}}}} " if by else ""
    return tuple(
        Query(f"histogram_quantile({part}, sum by ({labels}) (rate({metric}_bucket[5m])))", f"{name}{words}")
        for part, words in ((0.5, "median"), (0.95, "95 %"), (0.999, "99.9 %"))
    )
