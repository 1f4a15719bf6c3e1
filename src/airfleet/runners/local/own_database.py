"""A PostgreSQL that somebody else runs: what its URL says, and what airfleet misses there.

The checks change nothing. Each finding says what is wrong, and how the owner of the server mends it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from airfleet.components.model import OwnDatabase
from airfleet.errors import AirfleetError, UsageError
from airfleet.spec.secrets import Secret
from airfleet.workspace.diagnosis import Diagnosis, Level

WHERE = "fleet.yaml: database.url"
SUBJECT = "database"
# Airflow 3.3 works with this version and later ones.
LEAST_VERSION = 14
CONNECT_S = 10
# A task start takes some twenty round trips, one after another.
SLOW_MS, TOO_SLOW_MS = 5.0, 100.0
PINGS = 5
NOTICE_S = 5.0
CLOCK_S = 30.0
TLS_WORDS = ("sslmode", "sslrootcert")
# The settings of a session that airfleet needs, with the reason. Those of the first kind break it.
NEEDED = {
    "server_encoding": ("UTF8", "names of Dags and tasks may have any character"),
    "default_transaction_isolation": ("read committed", "Airflow locks rows and expects to see what others committed"),
    "default_transaction_read_only": ("off", "Airflow writes"),
}
WANTED = {
    "synchronous_commit": (("on", "remote_apply", "remote_write", "local"), "a crash may forget finished tasks"),
    "idle_session_timeout": (("0",), "the server ends connections that Airflow keeps"),
    "statement_timeout": (("0",), "the server ends the statements of migrations and of the archive"),
    "lock_timeout": (("0",), "the scheduler waits for locks"),
}


def read(url: Secret) -> OwnDatabase:
    """Return the database that a URL names.

    Raises:
        UsageError: It is no URL of PostgreSQL, or leaves something out. The text never has the URL.
    """
    try:
        words: dict[str, Any] = conninfo_to_dict(url.reveal())
    except (psycopg.Error, ValueError):
        raise UsageError("this is no URL of PostgreSQL", where=WHERE, hint=_FORM) from None
    missing = [name for name in ("host", "user", "password", "dbname") if not words.get(name)]
    if missing:
        raise UsageError(f"the URL names no {' and no '.join(missing)}", where=WHERE, hint=_FORM)
    known = {"host", "port", "user", "password", "dbname", *TLS_WORDS}
    if others := sorted(words.keys() - known):
        hint = f"beside the login, the address and the name there may be {' and '.join(TLS_WORDS)}"
        raise UsageError(f"the URL has {', '.join(others)}, which airfleet does not pass on", where=WHERE, hint=hint)
    if "@" in f"{words['host']}{words['dbname']}":
        # They may have the end of a password, so the text names neither.
        raise UsageError("the host or the database of the URL has an at sign", where=WHERE, hint=_ENCODED)
    host, port = str(words["host"]), str(words.get("port") or 5432)
    if "," in host or not port.isdigit():
        hint = "name the address at which the primary is reached"
        raise UsageError("the URL names several servers, or a port that is no number", where=WHERE, hint=hint)
    tls = {name: str(words[name]) for name in TLS_WORDS if name in words}
    authorities = tls.get("sslrootcert")
    if authorities and not Path(authorities).is_file():
        raise UsageError(f"there is no file {authorities}", where=f"{WHERE}: sslrootcert", hint="give its whole path")
    if tls.get("sslmode", "").startswith("verify") and not authorities:
        raise UsageError(
            f"sslmode={tls['sslmode']} needs sslrootcert, the file of the authorities",
            where=WHERE,
            hint="add &sslrootcert=/path/of/ca.pem",
        )
    return OwnDatabase(host, int(port), str(words["dbname"]), str(words["user"]), Secret(str(words["password"])), tls)


_ENCODED = "in the password, write % as %25, @ as %40 and / as %2F"
_FORM = "postgresql://login:password@host:5432/database?sslmode=verify-full&sslrootcert=/path/of/ca.pem"


def require(database: OwnDatabase, instance: str, *, connections: int, warn: Callable[[str], None]) -> None:
    """Make sure that a platform can work with a database. What is only unwise there is passed to `warn`.

    Raises:
        AirfleetError: It cannot. The text lists everything that is missing.
    """
    found = examine(database, instance, connections=connections)
    for one in found:
        if one.level == "warning":
            warn(f"{one.subject}: {one.what}; {one.hint}")
    errors = [one for one in found if one.level == "error"]
    if errors:
        what = "".join(f"\n- {one.what}\n  {one.hint}" for one in errors)
        raise AirfleetError(f"this PostgreSQL lacks what a platform needs:{what}", where=WHERE)


def examine(database: OwnDatabase, instance: str, *, connections: int) -> list[Diagnosis]:
    """Make all checks of a database for the platform `instance`, which opens up to `connections` connections."""
    try:
        with connect(database) as connection:
            if _ask(connection, "SELECT pg_is_in_recovery()")[0]:
                return [_say("error", "this server only reads: it is a replica", "name the address of the primary")]
            return [
                _judge_version(connection.info.server_version),
                *_judge_settings(connection),
                *_judge_rights(connection),
                *_judge_owner(connection, instance),
                *_judge_room(connection, connections),
                _judge_notices(connection, database),
                _judge_encryption(connection, database),
                _judge_latency(connection),
                *_judge_clock(connection),
            ]
    except psycopg.OperationalError as error:
        first = (str(error).strip().splitlines() or ["no answer"])[0]
        hint = "is the server up, and may this machine and this login reach the database (pg_hba.conf, security group)?"
        return [_say("error", f"{database.host}:{database.port} refuses the login {database.user}: {first}", hint)]


def connect(database: OwnDatabase) -> psycopg.Connection:
    """Connect to the metadata database. Raises psycopg.OperationalError if it does not answer or refuses the login."""
    return psycopg.connect(
        host=database.host,
        port=database.port,
        dbname=database.name,
        user=database.user,
        password=database.password.reveal(),
        connect_timeout=CONNECT_S,
        autocommit=True,
        **database.tls,  # type: ignore[arg-type]
    )


def claim(connection: psycopg.Connection, instance: str) -> None:
    """Note that the database belongs to a platform. The schema `airfleet` must be there."""
    connection.execute(sql.SQL("COMMENT ON SCHEMA airfleet IS {}").format(sql.Literal(f"{_OWNED_BY}{instance}")))


_OWNED_BY = "the platform "


def _say(level: Level, what: str, hint: str = "") -> Diagnosis:
    return Diagnosis(level, SUBJECT, what, hint)


def _ask(connection: psycopg.Connection, query: str) -> tuple[Any, ...]:
    row = connection.execute(query).fetchone()
    assert row is not None  # noqa: S101 - each query returns one row
    return tuple(row)


def _judge_version(version: int) -> Diagnosis:
    major = version // 10_000
    if major < LEAST_VERSION:
        return _say("error", f"it is PostgreSQL {major}", f"upgrade it to {LEAST_VERSION} or later")
    return _say("ok", f"PostgreSQL {major}")


def _judge_settings(connection: psycopg.Connection) -> Iterator[Diagnosis]:
    said = {name: str(_ask(connection, f"SELECT current_setting('{name}', true)")[0]) for name in (*NEEDED, *WANTED)}
    for name, (value, why) in NEEDED.items():
        if said[name] != value:
            yield _say("error", f"{name} is {said[name]}, not {value}: {why}", _hint(name, value))
    for name, (values, why) in WANTED.items():
        if said[name] not in (*values, "None"):
            yield _say("warning", f"{name} is {said[name]}: {why}", _hint(name, values[0]))


def _hint(name: str, value: str) -> str:
    if name == "server_encoding":
        return "make the database with: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
    return f"ALTER ROLE … SET {name} TO '{value}'"


def _judge_rights(connection: psycopg.Connection) -> Iterator[Diagnosis]:
    user, database, schema, on_database, temporary, on_schema = _ask(
        connection,
        "SELECT current_user, current_database(), current_schema(),"
        " has_database_privilege(current_database(), 'CREATE'),"
        " has_database_privilege(current_database(), 'TEMP'),"
        " current_schema() IS NOT NULL AND has_schema_privilege(current_schema(), 'CREATE')",
    )
    missing = []
    if not on_database:
        missing.append(f"GRANT CREATE ON DATABASE {database} TO {user}")
    if not temporary:
        missing.append(f"GRANT TEMPORARY ON DATABASE {database} TO {user}")
    if not on_schema:
        missing.append(f"GRANT CREATE ON SCHEMA {schema or 'public'} TO {user}")
    if missing:
        yield _say("error", f"the login {user} may not make its tables in {database}", "; ".join(missing))


def _judge_owner(connection: psycopg.Connection, instance: str) -> Iterator[Diagnosis]:
    [said] = _ask(
        connection,
        "SELECT coalesce(max(obj_description(oid, 'pg_namespace')), '') FROM pg_namespace WHERE nspname = 'airfleet'",
    )
    if said.startswith(_OWNED_BY) and said != f"{_OWNED_BY}{instance}":
        hint = "use another database; or stop that platform for good, and then run: COMMENT ON SCHEMA airfleet IS NULL"
        yield _say("error", "another platform works with this database, from another state folder", hint)


def _judge_room(connection: psycopg.Connection, connections: int) -> Iterator[Diagnosis]:
    most, own, used = _ask(
        connection,
        "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,"
        " (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),"
        " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')",
    )
    room = min(most - used + 1, own if own >= 0 else most)
    if room < connections:
        what = (
            f"it has room for {room} more connections, and a platform with this `parallelism` opens up to {connections}"
        )
        yield _say("warning", what, f"raise max_connections by {connections - room}, or lower `parallelism`")


def _judge_notices(connection: psycopg.Connection, database: OwnDatabase) -> Diagnosis:
    """Check that a notice reaches a session. A pool of transactions in between loses it, and session locks too."""
    channel = sql.Identifier(f"airfleet_check_{connection.info.backend_pid}")
    connection.execute(sql.SQL("LISTEN {}").format(channel))
    with connect(database) as other:
        other.execute(sql.SQL("NOTIFY {}").format(channel))
    heard = next(iter(connection.notifies(timeout=NOTICE_S, stop_after=1)), None)
    connection.execute(sql.SQL("UNLISTEN {}").format(channel))
    if heard is None:
        hint = "name the server itself, or a pool in the mode `session`"
        return _say("error", "a NOTIFY does not arrive: a pool of transactions is in between", hint)
    return _say("ok", "notices arrive")


def _judge_encryption(connection: psycopg.Connection, database: OwnDatabase) -> Diagnosis:
    [is_encrypted] = _ask(connection, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    if database.is_here:
        return _say("ok", "on this machine")
    if not is_encrypted:
        return _say("warning", "passwords and rows cross the network in clear", f"let the server offer TLS: {_FORM}")
    if not database.tls.get("sslmode", "").startswith("verify"):
        return _say("warning", "encrypted, but nobody verifies which server answers", f"write {_FORM}")
    return _say("ok", "encrypted, and the server is verified")


def _judge_latency(connection: psycopg.Connection) -> Diagnosis:
    times = []
    for _ in range(PINGS):
        begun = time.perf_counter()
        connection.execute("SELECT 1")
        times.append((time.perf_counter() - begun) * 1000)
    took = statistics.median(times)
    hint = "run airfleet where the database is: a task start takes some twenty round trips"
    level: Level = "error" if took > TOO_SLOW_MS else "warning" if took > SLOW_MS else "ok"
    return _say(level, f"a round trip takes {took:.1f} ms", "" if level == "ok" else hint)


def _judge_clock(connection: psycopg.Connection) -> Iterator[Diagnosis]:
    before = time.time()
    [there] = _ask(connection, "SELECT extract(epoch FROM clock_timestamp())::float8")
    after = time.time()
    ahead_s = max(there - after, 0.0) or min(there - before, 0.0)
    if abs(ahead_s) > CLOCK_S:
        way = "ahead of" if ahead_s > 0 else "behind"
        yield _say("warning", f"its clock is {abs(ahead_s):.0f} s {way} this machine's", "correct the wrong clock")
