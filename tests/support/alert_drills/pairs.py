"""Faults of servers of which a fleet has several, and of a database that nothing else uses."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from airfleet.runners.local import launch
from airfleet_provider.contract import job_schema
from alert_drills.drill import Drill
from alert_drills.servers_bed import ServersBed
from old_runs import find_hours, make_dag
from servers import as_nobody

# The archive takes runs of one Dag at a time, and so many Dags are more than it does in the second of its budget.
DAGS, RUNS, OLD_DAYS = 60, 5, 60
AHEAD = 1_100_000_000 >> 20 << 20
AGED = """
INSERT INTO dag_run (dag_id, queued_at, logical_date, start_date, end_date, state, run_id, run_type, triggered_by, conf,
    run_after, created_at, updated_at, clear_number, context_carrier, span_status)
SELECT 'aged', t, t, t, t, 'success', '{run}', 'manual', 'cli', '{{}}', t, t, t, 0, '{{}}', 'ended'
FROM (SELECT now() - interval '20 min') AS s (t)
"""

EVENT = """
WITH event AS (
    INSERT INTO airfleet.lineage_event (file, place, instance, is_read, body)
    VALUES (gen_random_uuid(), 1, gen_random_uuid(), true, '{}') RETURNING number
)
INSERT INTO airfleet.lineage_delivery (backend, event, since)
SELECT 'marquez', number, now() - interval '20 min' FROM event
"""
SPOOL = """
INSERT INTO airfleet.record_spool (host, files, oldest_s) VALUES ('worker', %s, 10800)
ON CONFLICT (host) DO UPDATE SET files = excluded.files, told_at = clock_timestamp()
"""


def freeze_agents(bed: ServersBed) -> Iterator[None]:
    with bed.frozen("agents-two"):
        yield


def freeze_broker(bed: ServersBed) -> Iterator[None]:
    with bed.frozen("rabbitmq-two"):
        yield


def freeze_voters(bed: ServersBed) -> Iterator[None]:
    with bed.frozen("voter1", "voter2"):
        yield


def keep_traces(bed: ServersBed) -> Iterator[None]:
    bed.collector.stop()
    try:
        bed.execute(AGED.format(run=uuid.uuid4()))
        yield
    finally:
        bed.collector.start()


def keep_lineage(bed: ServersBed) -> Iterator[None]:
    bed.collector.stop()
    try:
        bed.execute(EVENT)
        yield
    finally:
        bed.collector.start()


def leave_records(bed: ServersBed) -> Iterator[None]:
    bed.execute(SPOOL % 4)
    try:
        yield
    finally:
        bed.execute(SPOOL % 0)


def hold_transaction(bed: ServersBed) -> Iterator[None]:
    with bed.connect(autocommit=False) as connection:
        connection.execute("SELECT txid_current()")
        yield


def age_transactions(bed: ServersBed) -> Iterator[None]:
    """Let the next transaction id be 1.1 billion ahead. Only `pg_resetwal` can do that, on a server that is stopped."""
    bed.server.stop(signal.SIGINT)
    data = bed.server.folder
    subprocess.run(
        [str(launch.find_postgres() / "pg_resetwal"), "-x", str(AHEAD), str(data)], check=True, cwd="/", **as_nobody()
    )
    # The state of the transactions of that segment: PostgreSQL reads it for the next id.
    segment = data / "pg_xact" / f"{AHEAD >> 20:04X}"
    segment.write_bytes(bytes(256 << 10))
    shutil.chown(segment, data.owner())
    # With the setting that it has by default, PostgreSQL would freeze these few rows at once, even without autovacuum.
    bed.server.start("-c", "autovacuum_freeze_max_age=2000000000")
    yield
    # Autovacuum does that too, in its own time.
    bed.execute("ALTER DATABASE template0 ALLOW_CONNECTIONS true")
    for name in ("postgres", "template0", "template1"):
        with bed.connect(dbname=name) as connection:
            connection.execute("VACUUM (FREEZE)")
    bed.execute("ALTER DATABASE template0 ALLOW_CONNECTIONS false")


def pause_replica(bed: ServersBed) -> Iterator[None]:
    with bed.connect(port=bed.replica_port) as connection:
        connection.execute("SELECT pg_wal_replay_pause()")
    yield
    with bed.connect(port=bed.replica_port) as connection:
        connection.execute("SELECT pg_wal_replay_resume()")


def stop_replica(bed: ServersBed) -> Iterator[None]:
    bed.stop("replica")
    try:
        yield
    finally:
        bed.start_replica()


def have_archived(bed: ServersBed) -> None:
    """Let the archive be one that has worked, and has nothing left."""
    bed.wait(lambda: bed.query("airfleet_archive_left_runs") == 0, "an archive that leaves nothing")


def archive_all(bed: ServersBed) -> None:
    before = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    bed.run_airflow(bed.archive("run", before=before, budget=600))


def age(bed: ServersBed, job: str, interval: str) -> None:
    """Let a job have ended earlier than it has."""
    bed.execute(f"UPDATE airfleet.job SET ended_at = ended_at - interval '{interval}' WHERE name = '{job}'")  # noqa: S608


def archive_again(bed: ServersBed) -> None:
    """Let the archiver find that an archive is due."""
    age(bed, job_schema.RUN_ARCHIVE, "1 day")
    bed.keep_archive()


def make_old_runs(bed: ServersBed, prefix: str, dags: int) -> None:
    hours = find_hours(OLD_DAYS, datetime.now(UTC))
    for number in range(dags):
        make_dag(bed.server.query, f"{prefix}{number}", runs=RUNS, tasks=1, hours=hours, rare=False)


def refuse_runs(bed: ServersBed) -> Iterator[None]:
    make_old_runs(bed, "refused", 1)
    away = bed.store.with_name("archive-away")
    with contextlib.suppress(FileNotFoundError):  # nothing was archived yet
        bed.store.rename(away)
    bed.store.write_text("no folder")
    archive_again(bed)
    try:
        yield
    finally:
        bed.store.unlink()
        with contextlib.suppress(FileNotFoundError):
            away.rename(bed.store)
    archive_all(bed)
    archive_again(bed)


def leave_runs(bed: ServersBed) -> Iterator[None]:
    make_old_runs(bed, "left", DAGS)
    age(bed, job_schema.RUN_ARCHIVE_COMPLETE, "8 days")
    archive_again(bed)
    yield
    archive_all(bed)
    archive_again(bed)


PAIRS = (
    (
        Drill(("AgentsDown",), "the agents of one of two hosts were stopped with SIGSTOP", freeze_agents),
        Drill(
            ("BrokerDown", "BrokerNodesMissing"), "one of two RabbitMQ nodes was stopped with SIGSTOP", freeze_broker
        ),
        Drill(("EtcdWithoutLeader",), "two of three nodes of etcd were stopped with SIGSTOP", freeze_voters),
        Drill(
            ("DatabaseLongTransaction",),
            "a session kept a transaction open for more than a minute, which was the limit in place of half an hour",
            hold_transaction,
        ),
    ),
    (
        Drill(
            ("RunArchiveTooOld",),
            "a file was where the archive's folder had been, and the last archive was made a day old",
            refuse_runs,
            before=have_archived,
        ),
        Drill(("ReplicationLags",), "the replay of a real replica was paused", pause_replica),
    ),
    (
        Drill(
            ("RunArchiveBehind",),
            f"the archive had a second for old runs of {DAGS} Dags, and the last complete one was made eight days old",
            leave_runs,
            before=have_archived,
        ),
    ),
    (Drill(("ReplicaMissing",), "the only replica of PostgreSQL was stopped", stop_replica),),
    (Drill(("TracesNotSent",), "the collector was stopped, and a run that ended 20 minutes ago waited", keep_traces),),
    (Drill(("LineageNotSent",), "the backend was stopped, and an event waited for 20 minutes", keep_lineage),),
    (Drill(("RecordsNotHandedOver",), "a supervisor said that files were three hours old", leave_records),),
    (
        Drill(
            ("DatabaseWraparoundNear",),
            "the next transaction id was set 1.1 billion ahead, and nothing froze older ones",
            age_transactions,
        ),
    ),
)
