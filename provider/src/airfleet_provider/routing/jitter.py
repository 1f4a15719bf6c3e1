"""Timetables of crons whose runs begin some seconds later, with the dates and ids of runs without jitter (ADR 93)."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache
from itertools import islice, pairwise
from typing import Any, Self

from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction, Timetable
from airflow.timetables.interval import CronDataIntervalTimetable
from airflow.timetables.trigger import CronTriggerTimetable
from airflow.utils.types import DagRunType
from croniter import CroniterBadDateError
from pendulum import datetime

from airfleet_provider.contract.jitter_rules import JitterRule, find_delay

# The least time between two moments of a cron is looked for among so many, from this year on.
MOMENTS, YEAR = 64, 2024
BY_CRON = frozenset({DagRunType.SCHEDULED, DagRunType.BACKFILL_JOB})


class _Jitter(Timetable):  # type: ignore[misc]
    jitter_s: int = 0

    def next_dagrun_info(self, **values: Any) -> DagRunInfo | None:  # noqa: ANN401 - Airflow's arguments
        """Return the next run: its data interval is that of the cron, and it begins later."""
        info = super().next_dagrun_info(**values)
        return info and info._replace(run_after=info.run_after + timedelta(seconds=self.jitter_s))

    def generate_run_id(
        self,
        *,
        run_type: DagRunType,
        run_after: Any,  # noqa: ANN401 - a pendulum DateTime
        data_interval: DataInterval | None,
        **extra: Any,  # noqa: ANN401 - Airflow's arguments
    ) -> str:
        """Return the id that the run has without jitter. A run that a person starts has none.

        `run_after` may have been reckoned with another jitter, or with none, if the rules have just changed.
        """
        moment = data_interval.end if data_interval and run_type in BY_CRON else run_after
        found: str = super().generate_run_id(run_type=run_type, run_after=moment, data_interval=data_interval, **extra)
        return found

    def serialize(self) -> dict[str, Any]:
        """Return the values of the timetable, with its jitter."""
        return {**super().serialize(), "jitter_s": self.jitter_s}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Self:
        """Return the timetable that `serialize` described."""
        found: Self = super().deserialize(data)
        found.jitter_s = int(data["jitter_s"])
        return found


class JitteredCronDataIntervalTimetable(_Jitter, CronDataIntervalTimetable):  # type: ignore[misc]
    """A cron of data intervals, whose runs begin some seconds after the end of the interval."""


class JitteredCronTriggerTimetable(_Jitter, CronTriggerTimetable):  # type: ignore[misc]
    """A cron whose runs begin some seconds later."""


KINDS: dict[type[Timetable], type[_Jitter]] = {
    CronDataIntervalTimetable: JitteredCronDataIntervalTimetable,
    CronTriggerTimetable: JitteredCronTriggerTimetable,
}


def delay(timetable: Timetable, dag_id: str, rules: Iterable[JitterRule]) -> Timetable:
    """Return the timetable of a Dag with the jitter of the first rule that fits, or as it is if none applies.

    Only the two kinds of crons have jitter: not intervals without a fixed moment, assets, or a Dag author's own kinds.
    """
    kind = KINDS.get(type(timetable))
    if kind is None or not find_delay(rules := tuple(rules), dag_id):
        return timetable
    jitter_s = find_delay(rules, dag_id, find_gap(timetable))
    return kind.deserialize({**timetable.serialize(), "jitter_s": jitter_s}) if jitter_s else timetable


# Timetables with the same cron and time zone are equal, and many Dags have the same.
@lru_cache(maxsize=256)
def find_gap(timetable: Timetable) -> float | None:
    """Return the least seconds between two moments of a cron; None if it has fewer than two."""

    def list_moments() -> Iterable[Any]:
        last: DataInterval | None = None
        restriction = TimeRestriction(datetime(YEAR, 1, 1), None, catchup=True)
        # A cron that never comes, such as the 30th of February, raises: Airflow says so when the run is due.
        with suppress(CroniterBadDateError):
            while info := timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction):
                yield info.run_after
                last = info.data_interval

    gaps = ((later - one).total_seconds() for one, later in pairwise(islice(list_moments(), MOMENTS)))
    return min(gaps, default=None)
