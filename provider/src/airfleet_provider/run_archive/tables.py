"""Which tables of Airflow hold rows of a run, found from the foreign keys of the database at hand."""

from __future__ import annotations

# ruff: noqa: S608 - names come from the catalogue or are constants, values are numbers or quoted
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "tables")

ROOT = "dag_run"
# Added to each archived row: the id of the row in `dag_run` that it belongs to.
RUN_COLUMN = "archive_run_id"

Query = Callable[[str], Sequence[Sequence[Any]]]


class SchemaError(RuntimeError):
    """The database has a table that refers to runs in a way which the archive does not know."""


class TableKind(StrEnum):
    """What the archive does with the rows of a table that belong to a run."""

    # They are copied and deleted with the run.
    OWNED = "owned"
    # They are copied and stay, and lose their reference to the run; a restore gives the reference back.
    LINKED = "linked"
    # They are copied and stay: a run refers to them, so a restore adds those that are gone.
    PARENT = "parent"
    # They belong to no run.
    OTHER = "other"


# Every table of Airflow 3.3. A test compares this with a real database, so that a new table is not missed.
KNOWN: Mapping[str, TableKind] = {
    **dict.fromkeys(
        (
            *("asset_partition_dag_run", "callback", "dag_run", "dag_run_note", "dagrun_asset_event", "deadline"),
            *("hitl_detail", "hitl_detail_history", "log", "partitioned_asset_key_log"),
            *("rendered_task_instance_fields", "task_instance", "task_instance_history", "task_instance_note"),
            *("task_map", "task_reschedule", "task_state_store", "xcom"),
        ),
        TableKind.OWNED,
    ),
    "backfill_dag_run": TableKind.LINKED,
    **dict.fromkeys(("dag", "dag_bundle", "dag_code", "dag_version", "serialized_dag"), TableKind.PARENT),
    **dict.fromkeys(
        (
            *("ab_group", "ab_group_role", "ab_permission", "ab_permission_view", "ab_permission_view_role"),
            *("ab_register_user", "ab_role", "ab_user", "ab_user_group", "ab_user_role", "ab_view_menu"),
            *("alembic_version", "alembic_version_fab", "asset", "asset_active", "asset_alias", "asset_alias_asset"),
            *("asset_alias_asset_event", "asset_dag_run_queue", "asset_event", "asset_state_store", "asset_watcher"),
            *("backfill", "connection", "connection_test_request", "dag_bundle_team", "dag_favorite"),
            *("dag_owner_attributes", "dag_priority_parsing_request", "dag_schedule_asset_alias_reference"),
            *("dag_schedule_asset_name_reference", "dag_schedule_asset_reference"),
            *("dag_schedule_asset_uri_reference", "dag_tag", "dag_warning", "deadline_alert", "import_error", "job"),
            *("log_template", "revoked_token", "session", "slot_pool", "task_inlet_asset_reference"),
            *("task_outlet_asset_reference", "team", "trigger", "variable"),
        ),
        TableKind.OTHER,
    ),
}


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """One foreign key: what a deletion of the parent does is PostgreSQL's letter, such as `c` for CASCADE."""

    child: str
    parent: str
    on_delete: str
    columns: tuple[str, ...]
    parent_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A column with its type as PostgreSQL spells it."""

    name: str
    type: str
    is_required: bool


@dataclass(frozen=True, slots=True)
class TableSource:
    """A table with rows of runs; `path` joins it, as `x`, to the run, as `run`."""

    table: str
    kind: TableKind
    columns: tuple[Column, ...]
    path: str
    # Whether the run decides over each row alone, so that a change of rows means that the run has changed.
    is_digested: bool = True

    @property
    def seed(self) -> int:
        """Tells equal rows of two tables apart in a digest."""
        return zlib.crc32(self.table.encode())


@dataclass(frozen=True, slots=True)
class Schema:
    """What the archive has to know of a database: `owned` and `linked` with each parent before its children."""

    owned: tuple[TableSource, ...]
    linked: tuple[tuple[TableSource, ForeignKey], ...]
    parents: tuple[TableSource, ...]
    foreign_keys: tuple[ForeignKey, ...]

    @property
    def sources(self) -> tuple[TableSource, ...]:
        return (*self.parents, *self.owned, *(one for one, _ in self.linked))


def read_schema(query: Query) -> Schema:
    """Find the tables with rows of runs in a database.

    Raises SchemaError where a foreign key would stop the deletion of a run. A table that is not in KNOWN and whose rows
    go with a run is archived like the others.
    """
    keys = tuple(ForeignKey(c, p, how, tuple(own), tuple(of)) for c, p, how, own, of in query(SQL["foreign_keys"]))
    columns: dict[str, list[Column]] = {}
    for table, name, type_, required in query(SQL["columns"]):
        columns.setdefault(table, []).append(Column(name, type_, required))
    paths = {ROOT: f"public.{ROOT} AS x JOIN public.{ROOT} AS run ON run.id = x.id"}
    linked: list[tuple[str, str, ForeignKey]] = []
    order = [ROOT]
    for parent in order:  # grows while it is walked, so that each table comes after one of its parents
        for key in (one for one in keys if one.parent == parent and one.child not in paths):
            path = _name_run(key, columns[key.child]) or _extend(paths[parent], key)
            if key.on_delete == "c":
                paths[key.child] = path
                order.append(key.child)
            elif key.on_delete == "n":
                linked.append((key.child, path, key))
            else:
                raise SchemaError(f"{key.child} refers to {parent} by a key that forbids the deletion of a run")
    paths |= _list_without_keys(paths)
    order += [table for table in paths if table not in order]
    # A deadline refers to its callback, which so must be there first; log and the others refer to nothing.
    order = sorted(order, key=lambda table: (table != ROOT, table != "callback"))
    return Schema(
        owned=tuple(
            TableSource(table, TableKind.OWNED, tuple(columns[table]), paths[table], is_digested=table != "log")
            for table in order
            if table in columns
        ),
        linked=tuple(
            (TableSource(table, TableKind.LINKED, tuple(columns[table]), path, is_digested=False), key)
            for table, path, key in linked
        ),
        parents=tuple(
            TableSource(table, TableKind.PARENT, tuple(columns[table]), path, is_digested=False)
            for table, path in _PARENTS.items()
        ),
        foreign_keys=keys,
    )


def list_tables(query: Query) -> frozenset[str]:
    """Airflow's tables in a database."""
    return frozenset(row[0] for row in query(SQL["columns"]))


def _name_run(key: ForeignKey, columns: Sequence[Column]) -> str | None:
    """The path of a table that has the run's id beside the key of a task instance, as `xcom` does.

    It costs a fifth of the way through the task instances. `delete` counts what a cascade deletes, so a row whose id
    names another run than its key does is not lost.
    """
    if key.parent == ROOT or not any(one.name == "dag_run_id" for one in columns):
        return None
    return f'public."{key.child}" AS x JOIN public.{ROOT} AS run ON run.id = x.dag_run_id'


def _extend(path: str, key: ForeignKey) -> str:
    """The path from a child's rows, through its parent's, to the run."""
    depth = path.count(" JOIN ")
    alias = f"p{depth}"
    pairs = zip(key.columns, key.parent_columns, strict=True)
    joined = " AND ".join(f'x."{own}" = {alias}."{of}"' for own, of in pairs)
    if key.parent == ROOT:
        return f'public."{key.child}" AS x JOIN public.{ROOT} AS run ON {joined.replace(f"{alias}.", "run.")}'
    above = path.removeprefix(f'public."{key.parent}" AS x').replace("x.", f"{alias}.")
    return f'public."{key.child}" AS x JOIN public."{key.parent}" AS {alias} ON {joined}{above}'


def _list_without_keys(paths: Mapping[str, str]) -> dict[str, str]:
    """Tables whose rows belong to a run although no foreign key of theirs says so."""
    run = f"public.{ROOT} AS run"
    found = {"log": f"public.log AS x JOIN {run} ON run.dag_id = x.dag_id AND run.run_id = x.run_id"}
    if "deadline" in paths:
        found["callback"] = (
            "public.callback AS x JOIN public.deadline AS p1 ON p1.callback_id = x.id"
            f" JOIN {run} ON run.id = p1.dagrun_id"
        )
    if "asset_partition_dag_run" in paths:
        found["partitioned_asset_key_log"] = (
            "public.partitioned_asset_key_log AS x JOIN public.asset_partition_dag_run AS p1"
            f" ON p1.id = x.asset_partition_dag_run_id JOIN {run} ON run.id = p1.created_dag_run_id"
        )
    return found


# Rows that runs refer to: the conditions hold `{ids}`, an array of ids of runs.
_VERSIONS = f"SELECT created_dag_version_id FROM public.{ROOT} WHERE id = ANY({{ids}}) UNION " + " UNION ".join(
    f"SELECT t.dag_version_id FROM public.{table} AS t JOIN public.{ROOT} AS r USING (dag_id, run_id)"
    " WHERE r.id = ANY({ids})"
    for table in ("task_instance", "task_instance_history")
)
_DAGS = f"SELECT dag_id FROM public.{ROOT} WHERE id = ANY({{ids}})"
_PARENTS: Mapping[str, str] = {
    "dag_bundle": (
        f"public.dag_bundle AS x WHERE x.name IN (SELECT bundle_name FROM public.dag WHERE dag_id IN ({_DAGS}))"
    ),
    "dag": f"public.dag AS x WHERE x.dag_id IN ({_DAGS})",
    "dag_version": f"public.dag_version AS x WHERE x.id IN ({_VERSIONS})",
    "serialized_dag": f"public.serialized_dag AS x WHERE x.dag_version_id IN ({_VERSIONS})",
    "dag_code": f"public.dag_code AS x WHERE x.dag_version_id IN ({_VERSIONS})",
}
