"""What a metadata database needs, decided from facts alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from airfleet_provider.database_care.facts import DatabaseFacts, Index

# Airflow updates rows of these tables all the time. With PostgreSQL's default of 20 % a table of three million task
# instances is vacuumed after 600,000 dead rows.
HOT = ("asset_dag_run_queue", "callback", "dag", "dag_run", "job", "slot_pool", "task_instance", "trigger")
# These only grow and shrink; new rows must be known to the planner, and be frozen before an anti-wraparound vacuum.
LARGE = ("log", "xcom")
OPTIONS: Mapping[str, str] = {
    "autovacuum_vacuum_scale_factor": "0.01",
    "autovacuum_vacuum_threshold": "200",
    "autovacuum_analyze_scale_factor": "0.02",
    "autovacuum_analyze_threshold": "200",
    "autovacuum_vacuum_cost_limit": "1000",
}
LARGE_OPTIONS: Mapping[str, str] = {
    "autovacuum_vacuum_scale_factor": "0.02",
    "autovacuum_vacuum_insert_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.02",
}
# Each running task changes the column of this index every few seconds, and an update of an indexed column rewrites
# every index of the row. The scheduler's query for silent tasks uses `ti_state`.
HEARTBEAT_INDEX = "ti_heartbeat"
# Nobody deletes rows of these tables while tasks run: users and roles, and a few rows of configuration.
LASTING = ("ab_", "log_template", "team")
# What `CONCURRENTLY` leaves where it was interrupted.
LEFT_OVER = ("_ccnew", "_ccold")
OWN_PREFIX = "airfleet_"
PREFIX = f"{OWN_PREFIX}fk_"
# Airflow has no index with the runs of a Dag in their order. Without one, a statement that wants the newest reads all:
# `show_fields` for each task, and the pages of Airflow's UI for each Dag that they show.
OWN_INDEXES: Mapping[str, tuple[str, tuple[str, ...]]] = {"airfleet_run_order": ("dag_run", ("dag_id", "run_after"))}
NAME_LENGTH = 63
MIB = 1 << 20
LEAST_BLOAT_BYTES, BLOAT_FACTOR = 32 * MIB, 2.0
CHANGED_SHARE, LEAST_CHANGED = 0.1, 1000


class CareKind(StrEnum):
    """What a step does."""

    AUTOVACUUM = "autovacuum"
    DROP_INVALID = "drop-invalid"
    OWN_INDEX = "own-index"
    FOREIGN_KEY = "foreign-key-index"
    HEARTBEAT = "heartbeat-index"
    REINDEX = "reindex"
    ANALYZE = "analyze"


@dataclass(frozen=True, slots=True)
class CareStep:
    """One statement, which runs outside a transaction and blocks neither readers nor writers for long."""

    kind: CareKind
    target: str
    reason: str
    sql: str


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that a person must look at."""

    name: str
    text: str


def plan(facts: DatabaseFacts) -> tuple[CareStep, ...]:
    """The steps that a database needs now; none where all was done."""
    return (
        *_tune(facts),
        *_drop_invalid(facts.indexes),
        *_add_own_indexes(facts.indexes),
        *_index_foreign_keys(facts),
        *_drop_heartbeat(facts),
        *_reindex(facts),
        *_analyze(facts),
    )


def plan_own_indexes(indexes: Mapping[str, Index]) -> tuple[CareStep, ...]:
    """The part of `plan` without which airfleet's own statements are slow in a database with old rows."""
    own = {name: indexes[name] for name in OWN_INDEXES if name in indexes}
    return (*_drop_invalid(own), *_add_own_indexes(indexes))


def list_alarms(facts: DatabaseFacts) -> tuple[Alarm, ...]:
    """What no step mends."""
    return tuple(_list_alarms(facts))


def _tune(facts: DatabaseFacts) -> Iterator[CareStep]:
    for names, wanted in ((HOT, OPTIONS), (LARGE, LARGE_OPTIONS)):
        for name in names:
            table = facts.tables.get(name)
            missing = {key: value for key, value in wanted.items() if table and table.options.get(key) != value}
            if missing:
                listed = ", ".join(f"{key} = {value}" for key, value in missing.items())
                yield CareStep(
                    CareKind.AUTOVACUUM,
                    name,
                    "vacuumed and analyzed after few changes, not after a fifth of the table",
                    f'ALTER TABLE public."{name}" SET ({listed})',
                )


def _drop_invalid(indexes: Mapping[str, Index]) -> Iterator[CareStep]:
    for index in indexes.values():
        if not index.is_valid and (
            index.name.startswith(OWN_PREFIX) or index.name.rstrip("0123456789").endswith(LEFT_OVER)
        ):
            yield CareStep(CareKind.DROP_INVALID, index.name, "left by an interrupted command", _drop(index.name))


def _add_own_indexes(indexes: Mapping[str, Index]) -> Iterator[CareStep]:
    tables = {one.table for one in indexes.values()}
    for name, (table, columns) in OWN_INDEXES.items():
        if table in tables and (name not in indexes or not indexes[name].is_valid):
            yield CareStep(
                CareKind.OWN_INDEX,
                name,
                f"a query for the newest rows of one {columns[0]} in {table} reads all of its rows",
                _add(name, table, columns),
            )


def list_unindexed(facts: DatabaseFacts) -> list[tuple[str, tuple[str, ...]]]:
    """Tables and columns of foreign keys that need an index and have none."""
    return [(table, columns) for table, columns, parent in facts.unindexed if not parent.startswith(LASTING)]


def _index_foreign_keys(facts: DatabaseFacts) -> Iterator[CareStep]:
    for table, columns in list_unindexed(facts):
        name = f"{PREFIX}{table}_{'_'.join(columns)}"[:NAME_LENGTH]
        yield CareStep(
            CareKind.FOREIGN_KEY,
            name,
            f"each deletion of a row that {table} refers to reads all of {table}",
            _add(name, table, columns),
        )


def _drop_heartbeat(facts: DatabaseFacts) -> Iterator[CareStep]:
    if HEARTBEAT_INDEX in facts.indexes:
        yield CareStep(
            CareKind.HEARTBEAT,
            HEARTBEAT_INDEX,
            "it makes each heartbeat of a task write every index of the task instance",
            _drop(HEARTBEAT_INDEX),
        )


def _reindex(facts: DatabaseFacts) -> Iterator[CareStep]:
    for index in facts.indexes.values():
        if index.is_valid and index.name != HEARTBEAT_INDEX and _is_bloated(index):
            yield CareStep(
                CareKind.REINDEX,
                index.name,
                f"{index.bytes // MIB} MiB, of which {index.expected_bytes // MIB} are needed at most",
                f'REINDEX INDEX CONCURRENTLY public."{index.name}"',
            )


def _is_bloated(index: Index) -> bool:
    spare = index.bytes - index.expected_bytes
    return spare > LEAST_BLOAT_BYTES and index.bytes > BLOAT_FACTOR * index.expected_bytes


def _analyze(facts: DatabaseFacts) -> Iterator[CareStep]:
    for table in facts.tables.values():
        is_changed = table.changed_rows > max(LEAST_CHANGED, CHANGED_SHARE * table.rows)
        if is_changed or (table.rows > LEAST_CHANGED and not table.is_analyzed):
            yield CareStep(
                CareKind.ANALYZE,
                table.name,
                f"{table.changed_rows} rows changed since the planner's statistics were made",
                f'ANALYZE public."{table.name}"',
            )


def _add(name: str, table: str, columns: tuple[str, ...]) -> str:
    listed = ", ".join(f'"{one}"' for one in columns)
    return f'CREATE INDEX CONCURRENTLY IF NOT EXISTS "{name}" ON public."{table}" ({listed})'


def _drop(name: str) -> str:
    return f'DROP INDEX CONCURRENTLY IF EXISTS public."{name}"'


def _list_alarms(facts: DatabaseFacts) -> Iterator[Alarm]:
    if not facts.is_autovacuum_on:
        yield Alarm("autovacuum-off", "autovacuum is off: tables grow without end, and the server stops at last")
    # PostgreSQL freezes by itself from `freeze_max_age` on, and refuses writes at two thousand million.
    if facts.xid_age > 2 * facts.freeze_max_age:
        yield Alarm(
            "wraparound",
            f"the oldest transaction id is {facts.xid_age:,} transactions old, and PostgreSQL stops at 2,000,000,000:"
            " look for a transaction, a prepared transaction or a replication slot that holds it",
        )
    for one in facts.transactions:
        yield Alarm(
            "long-transaction",
            f"process {one.pid} ({one.program or 'no name'}, {one.state}) has a transaction open for {one.age_s:.0f} s:"
            " no row that was deleted since can be removed",
        )
    for table in facts.tables.values():
        if table.dead_rows > max(50_000, table.rows // 4):
            yield Alarm("bloat", f"{table.name} has {table.dead_rows:,} dead rows beside {table.rows:,} live ones")
    if facts.connections > 0.8 * facts.max_connections:
        yield Alarm("connections", f"{facts.connections} of {facts.max_connections} connections are in use")
