"""Faults of what goes on beside the tasks: the archive of old runs, and the traces that a collector gets."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

from airfleet_provider.contract import job_schema
from alert_drills.drill import Drill
from alert_drills.local_bed import LocalBed
from old_runs import make_dag

# The archive takes runs of one Dag at a time, and so many Dags are more than it does in the second of its budget.
DAGS, RUNS = 60, 5
OLD_HOURS = 60 * 24


def take_collector_away(bed: LocalBed) -> Iterator[None]:
    bed.collector.stop()
    try:
        assert bed.platform.succeeds("quick")
        bed.execute(
            "UPDATE dag_run SET start_date = start_date - interval '20 min', end_date = end_date - interval '20 min'"
            " WHERE id = (SELECT max(id) FROM dag_run WHERE dag_id = 'quick')"
        )
        yield
    finally:
        bed.collector.start()


def have_archived(bed: LocalBed) -> None:
    """Let the archive be one that has worked."""
    metric = "time() - airfleet_archive_timestamp_seconds < 3600 and on () airfleet_archive_left_runs == 0"
    bed.wait(lambda: bed.query(metric) is not None, "a first archive")


def archive_now(bed: LocalBed) -> None:
    """Let the archiver find that an archive is due."""
    bed.execute(f"DELETE FROM airfleet.job WHERE name = '{job_schema.RUN_ARCHIVE}'")  # noqa: S608 - a constant
    bed.signal("archiver", signal.SIGKILL)


def make_old_runs(bed: LocalBed, prefix: str, dags: int) -> None:
    with bed.connect() as connection:

        def query(sql: str, *words: object) -> list[tuple[Any, ...]]:
            cursor = connection.execute(sql.encode(), words or None)
            return cursor.fetchall() if cursor.description else []

        for number in range(dags):
            make_dag(query, f"{prefix}{number}", runs=RUNS, tasks=1, hours=OLD_HOURS, rare=False)


def refuse_runs(bed: LocalBed) -> Iterator[None]:
    make_old_runs(bed, "refused", 1)
    store = bed.platform.state.root / "archive"
    away = store.with_name("archive-away")
    with contextlib.suppress(FileNotFoundError):  # nothing was archived yet
        store.rename(away)
    store.write_text("no folder")
    age(bed, job_schema.RUN_ARCHIVE, "1 day")
    bed.signal("archiver", signal.SIGKILL)
    try:
        yield
    finally:
        store.unlink()
        with contextlib.suppress(FileNotFoundError):
            away.rename(store)
    bed.platform.airfleet("db", "archive", "run", "--budget", "600")


def leave_runs(bed: LocalBed) -> Iterator[None]:
    make_old_runs(bed, "left", DAGS)
    age(bed, job_schema.RUN_ARCHIVE_COMPLETE, "8 days")
    archive_now(bed)
    yield
    bed.platform.airfleet("db", "archive", "run", "--budget", "600")
    archive_now(bed)


def age(bed: LocalBed, job: str, interval: str) -> None:
    """Let a job have ended earlier than it has."""
    bed.execute(f"UPDATE airfleet.job SET ended_at = ended_at - interval '{interval}' WHERE name = '{job}'")  # noqa: S608


TRACES = (
    (
        Drill(
            ("TracesNotSent",),
            "the collector was stopped, and the end of a run that waited for it was put 20 minutes back",
            take_collector_away,
        ),
    ),
)
ARCHIVE = (
    (
        Drill(
            ("RunArchiveTooOld",),
            "a file was where the archive's folder had been, and the last archive was made a day old",
            refuse_runs,
            before=have_archived,
        ),
    ),
    (
        Drill(
            ("RunArchiveBehind",),
            f"the archive had a second for old runs of {DAGS} Dags, and the last complete one was made eight days old",
            leave_runs,
            before=have_archived,
        ),
    ),
)
