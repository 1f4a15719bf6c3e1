"""Ends alerts that their source no longer asserts. Without it, a reminder would be sent until a person ends them.

Alertmanager repeats an alert that fires every hour, and passes the end of an alert on once. The end is lost if it was
inhibited at that time, or if Alertmanager has lost its memory. So an alert that was not repeated for long has ended.
What ends here by mistake begins again with the next report. The loops of failed runs and of SLAs end their own alerts.
"""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from airfleet_provider.contract.alert_schema import AGENTS, GAP_S, WATCHDOG
from airfleet_provider.contract.statements import Statements
from airfleet_provider.notifications import watchdog
from airfleet_provider.notifications.alertmanager import SOURCE

SQL = Statements(__package__, "expiry")

# Two repetitions of the Alertmanager that airfleet configures, and its interval of groups.
UNREPORTED_S = 2 * 3600.0 + 600.0
# An Alertmanager that a person has configured repeats less often. Without its watchdog alert, nobody knows whether it
# works at all.
UNWATCHED_S = 86_400.0
# The name in `airfleet.heartbeat` of the agents' own turns, which show since when they were there without a gap.
LOOKS = "expiry"

Row = dict[str, Any]


def end_unasserted(connection: Connection[Row], *, is_watched: bool) -> int:
    """End the alerts that nothing asserts any more; return how many.

    While the watchdog alert of Prometheus arrives, alerts that were not repeated for UNREPORTED_S end. If it ought to
    arrive and does not, none ends, as nobody knows. `is_watched` says that it ought to.

    If it is not expected, alerts end that were not reported for UNWATCHED_S. None of them ends before this function has
    been called without a gap for UNREPORTED_S: after an outage of the agents, Alertmanager repeats its alerts first.
    """
    connection.execute(SQL["looked"], {"looks": LOOKS, "gap": GAP_S})
    ended = connection.execute(
        SQL["unreported"],
        {
            "source": SOURCE,
            "ended_by": AGENTS,
            "watchdog": WATCHDOG,
            "looks": LOOKS,
            "gap": GAP_S,
            "unreported": UNREPORTED_S,
            "unwatched": UNWATCHED_S,
            "is_watched": is_watched,
        },
    ).rowcount
    if not is_watched:
        ended += connection.execute(
            SQL["unwatched"], {"fingerprint": watchdog.FINGERPRINT, "ended_by": AGENTS}
        ).rowcount
    return ended
