"""The login for reports: it reads the tables of runs and tasks, and no column that may hold a secret (ADR 66)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from airfleet.components.host_model import Job, Place, Stage
from airfleet.components.postgresql.psql import USER, build_command
from airfleet.spec.addresses import collapse
from airfleet.spec.fleet import Reporting
from airfleet.spec.secrets import Secret

LOGIN = "airfleet_reporting"
# The tables of Airflow that reports may read, each with the columns that they may not. Those hold what users wrote
# into a run, a task or an asset, which may be a secret.
TABLES: Mapping[str, tuple[str, ...]] = {
    "asset": ("extra",),
    "asset_active": (),
    "asset_alias": (),
    "asset_event": ("extra",),
    "backfill": ("dag_run_conf",),
    "backfill_dag_run": (),
    "dag": (),
    "dag_owner_attributes": (),
    "dag_run": ("conf", "context_carrier"),
    "dag_schedule_asset_reference": (),
    "dag_tag": (),
    "dag_version": ("version_data",),
    "dag_warning": (),
    "dagrun_asset_event": (),
    "import_error": ("stacktrace",),
    "job": (),
    "slot_pool": (),
    "task_inlet_asset_reference": (),
    "task_instance": ("context_carrier", "executor_config", "next_kwargs"),
    "task_instance_history": ("context_carrier", "executor_config", "next_kwargs"),
    "task_outlet_asset_reference": (),
    "task_reschedule": (),
}
TEMPORARY = "2GB"
LOCK_S = 5


def list_readers(place: Place) -> tuple[str, ...]:
    """Return the networks that may use the login, none within another."""
    wanted = place.fleet.reporting.readers if place.fleet.reporting else ()
    return tuple(str(one).removesuffix(f"/{one.max_prefixlen}") for one in collapse(wanted))


def make_login(place: Place) -> list[str]:
    """Return SQL for a superuser that makes the login, or ends it if fleet.yaml does not have it any more."""
    wanted, password = place.fleet.reporting, place.objects.reporting
    if wanted is None or password is None:
        return [
            f"SELECT 'ALTER ROLE {LOGIN} NOLOGIN PASSWORD NULL'"  # noqa: S608 - a constant
            f" WHERE EXISTS (SELECT FROM pg_roles WHERE rolname = '{LOGIN}') \\gexec",
            *_end_sessions(),
        ]
    return [*_set_login(wanted, password), *_keep_from_locks()]


def _set_login(wanted: Reporting, password: Secret) -> Iterator[str]:
    quoted = password.reveal().replace("'", "''")
    yield f"SELECT 'CREATE ROLE {LOGIN}' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{LOGIN}') \\gexec"  # noqa: S608
    yield f"ALTER ROLE {LOGIN} LOGIN CONNECTION LIMIT {wanted.connections} PASSWORD '{quoted}';"
    for name, value in (
        ("default_transaction_read_only", "on"),
        ("statement_timeout", f"{wanted.seconds}s"),
        ("idle_in_transaction_session_timeout", f"{wanted.seconds}s"),
        ("lock_timeout", f"{LOCK_S}s"),
        ("temp_file_limit", TEMPORARY),
        ("TimeZone", "UTC"),
    ):
        yield f"ALTER ROLE {LOGIN} SET {name} TO '{value}';"
    yield f'GRANT CONNECT ON DATABASE "airflow" TO {LOGIN};'


def _end_sessions() -> Iterator[str]:
    yield (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"  # noqa: S608 - a constant
        f" WHERE usename = '{LOGIN}' \\g /dev/null"
    )


def _keep_from_locks() -> Iterator[str]:
    """Yield SQL that keeps the login from the locks by which Airflow and airfleet agree, and from new tables.

    A superuser runs it in a database of the role `airflow`, which may make functions and operators in `public`. One
    that fits the types here better than PostgreSQL's own would be called, so only `pg_catalog` is looked at.
    """
    yield "\\connect airflow"
    yield "SET search_path = pg_catalog;"
    yield "GRANT USAGE, CREATE ON SCHEMA public TO airflow;"
    yield "REVOKE CREATE ON SCHEMA public FROM PUBLIC;"
    for change, who in (("GRANT", "TO airflow"), ("REVOKE", "FROM PUBLIC")):
        yield (
            f"SELECT format('{change} EXECUTE ON FUNCTION %s {who}', oid::pg_catalog.regprocedure)"  # noqa: S608
            " FROM pg_catalog.pg_proc WHERE pronamespace = 'pg_catalog'::pg_catalog.regnamespace"
            " AND proname ~ '^pg_(try_)?advisory_' \\gexec"
        )


def give_rights(place: Place) -> Job:
    """Describe the job that lets the login read. It runs with the rights of the owner of Airflow's tables.

    A new version of Airflow may have other tables and columns, so it runs again for each.
    """
    script = Secret(f"# {place.objects.versions}\n{_PSQL} <<'SQL'\n{render_rights()}\nSQL\n")
    return Job("reporting-rights", "what reports may read", Stage.EDGE, script, USER)


_PSQL = build_command("airflow", login="airfleet_looker")


def render_rights() -> str:
    """Return SQL that grants what TABLES says, and nothing else. Tables and columns that do not exist are left out."""
    rows = ",\n    ".join(f"('{table}', {_quote_names(hidden)})" for table, hidden in TABLES.items())
    return f"""\
SET client_min_messages = warning;
BEGIN;
SET LOCAL search_path = pg_catalog;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {LOGIN};
SELECT format('GRANT SELECT%s ON public.%I TO {LOGIN}',
    CASE WHEN bool_or(attname = ANY (hidden))
        THEN ' (' || string_agg(quote_ident(attname), ', ') FILTER (WHERE attname <> ALL (hidden)) || ')' ELSE '' END,
    relname)
FROM (VALUES
    {rows}
) wanted (name, hidden)
JOIN pg_class ON relname = name AND relnamespace = 'public'::regnamespace AND relkind = 'r'
JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
GROUP BY relname
\\gexec
COMMIT;"""  # noqa: S608 - constants


def _quote_names(names: Iterable[str]) -> str:
    return f"ARRAY[{', '.join(repr(name) for name in names)}]::text[]"
