"""Reads how each Dag does against its schedule: is its next run overdue, and how old are its unfinished runs."""

from __future__ import annotations

from collections import Counter, defaultdict

from airfleet_provider.agent_loops.loop import Context
from airfleet_provider.contract.statements import Statements
from airfleet_provider.exporter.board import Board
from airfleet_provider.exporter.limits import LabelLimits, Labels

SQL = Statements(__package__, "dags")

NAME = "dags"
# A scheduler that is well creates a run within seconds after it is due.
OVERDUE_S = 60.0
STATES = ("active", "paused", "stale", "broken")


class Dags:
    """The loop that reads. Only the active process runs it."""

    def __init__(self, board: Board, limits: LabelLimits) -> None:
        self._board = board
        self._limits = limits

    def once(self, context: Context) -> None:
        """Read all Dags and publish what is exported of them."""
        with context.read() as connection:
            rows = connection.execute(SQL["dags"]).fetchall()
            ages = connection.execute(SQL["oldest"]).fetchall()
        values: defaultdict[str, dict[Labels, float]] = defaultdict(dict)
        states: Counter[str] = Counter(dict.fromkeys(STATES, 0))
        overdue = 0
        for row in rows:
            state = _name_state(paused=row["is_paused"], stale=row["is_stale"], broken=row["is_broken"])
            states[state] += 1
            # A Dag with an import error should run too: its users miss the run, whatever the reason.
            if state in ("active", "broken") and not row["is_paused"] and row["overdue_s"] is not None:
                values["airfleet_dag_overdue_seconds"][row["dag_id"],] = max(0.0, row["overdue_s"])
                overdue += row["overdue_s"] > OVERDUE_S
        for row in ages:
            values["airfleet_dag_oldest_run_age_seconds"][row["dag_id"],] = max(0.0, row["age_s"])
        values["airfleet_dags"] = {(state,): float(count) for state, count in states.items()}
        values["airfleet_dags_overdue"] = {(): float(overdue)}
        # Also those without any series now, so that Dags that are gone give up their places.
        for name in ("airfleet_dag_overdue_seconds", "airfleet_dag_oldest_run_age_seconds"):
            values.setdefault(name, {})
        self._board.publish(NAME, {name: self._limits.fold(name, series) for name, series in values.items()})


def _name_state(*, paused: bool, stale: bool, broken: bool) -> str:
    # A Dag whose file does not load may be stale too: it is in no live release until the file is mended.
    if broken:
        return "broken"
    if stale:
        return "stale"
    return "paused" if paused else "active"
