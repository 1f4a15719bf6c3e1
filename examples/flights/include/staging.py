"""From judged rows to files that COPY can read."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd

from include.deliveries import Month
from include.files import write_whole
from include.partition import FLIGHT_COLUMNS, QUARANTINE_COLUMNS, Partition
from include.rules import ORIGINS, Verdict

ELSEWHERE = "other"
WHOLE_NUMBERS = (
    "flight", "sched_dep_time", "dep_time", "dep_delay", "sched_arr_time", "arr_time", "arr_delay", "air_time",
    "distance",
)  # fmt: skip


def stage_month(staging: Path, month: Month, verdict: Verdict) -> list[Partition]:
    """Write the judged rows of a month as files ready for COPY and return the partitions they make."""
    flights, quarantine = shape_flights(verdict.accepted, month), shape_quarantine(verdict.rejected, month)
    staged = []
    for origin in sorted({*flights["origin"], *quarantine["origin"]}):
        mine = flights[flights["origin"] == origin], quarantine[quarantine["origin"] == origin]
        partition = Partition(str(month), origin, len(mine[0]), len(mine[1]))
        write_whole(partition.flights_file(staging), _to_csv(mine[0]))
        write_whole(partition.quarantine_file(staging), _to_csv(mine[1]))
        staged.append(partition)
    return staged


def shape_flights(accepted: pd.DataFrame, month: Month) -> pd.DataFrame:
    """Return accepted rows in the columns of the table flights."""
    shaped = accepted.astype(dict.fromkeys(WHOLE_NUMBERS, "Int64"))
    shaped["month"] = month.first_day.isoformat()
    shaped["status"] = "arrived"
    shaped.loc[shaped["arr_time"].isna(), "status"] = "diverted"
    shaped.loc[shaped["dep_time"].isna(), "status"] = "cancelled"
    shaped["flight_date"] = f"{month}-" + shaped["day"].astype("int64").astype(str).str.zfill(2)
    shaped["scheduled_hour"] = shaped["time_hour"]
    shaped["line"] = shaped.index
    return shaped[list(FLIGHT_COLUMNS)]


def shape_quarantine(rejected: pd.DataFrame, month: Month) -> pd.DataFrame:
    """Return rejected rows in the columns of the table flights_quarantine, the delivered fields as JSON."""
    raw = rejected.drop(columns="reason").astype(object)
    records = raw.where(raw.notna(), None).to_dict("records")
    return pd.DataFrame(
        {
            "month": month.first_day.isoformat(),
            "origin": rejected["origin"].where(rejected["origin"].isin(ORIGINS), ELSEWHERE).astype(object),
            "line": rejected.index,
            "reason": rejected["reason"],
            "record": [json.dumps(record) for record in records],
        },
        columns=list(QUARANTINE_COLUMNS),
    )


def _to_csv(rows: pd.DataFrame) -> bytes:
    buffer = io.StringIO()
    rows.to_csv(buffer, index=False, lineterminator="\n")
    return buffer.getvalue().encode()
