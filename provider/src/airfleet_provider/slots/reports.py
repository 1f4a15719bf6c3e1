"""What a worker reports to an api-server, and what the worker learns by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.contract.slot_rules import STALE_S
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "store")

# All workers together report so often in a second at most, but each at least every `SLOWEST_S` seconds.
REPORTS_PER_S = 50.0
FASTEST_S, SLOWEST_S = 1.0, 5.0


def note(
    values: Mapping[str, object], session: Callable[[], AbstractContextManager[Any]] = metadata_db.open_session
) -> dict[str, Any] | None:
    """Write a report to the row of its worker, and return the answer; None if there is no such row.

    The answer has the worker's `slots`, its `rank` if tasks are packed, whether it is `drained` on the Fleet pages, and
    `again_s`: the seconds until its next report.
    """
    with session() as one:
        rows = metadata_db.query_in(one)(SQL["report"], {**values, "stale_s": STALE_S})
    if not rows:
        return None
    again_s = min(max(rows[0]["workers"] / REPORTS_PER_S, FASTEST_S), SLOWEST_S)
    return {**{name: rows[0][name] for name in ("slots", "rank", "drained")}, "again_s": again_s}
