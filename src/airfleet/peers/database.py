"""A PostgreSQL that somebody else runs: what its URL says, and what airfleet misses there.

The checks change nothing. Each finding says what is wrong, and how the owner of the server mends it.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from airfleet.components.model import OwnDatabase
from airfleet.components.postgresql.result_database import ResultLogins
from airfleet.errors import UsageError
from airfleet.peers import result_server
from airfleet.peers.connection import SUBJECT, ask, connect, say
from airfleet.peers.findings import judge_round_trip, refuse
from airfleet.spec.addresses import join_port
from airfleet.spec.secrets import Secret
from airfleet.workspace.diagnosis import Diagnosis
from airfleet_provider.contract import database_claim

WHERE = "fleet.yaml: database.url"
# Airflow 3.3 works with this version and later ones.
LEAST_VERSION = 14
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
    text = Path(authorities).read_text() if authorities else ""
    password = Secret(str(words["password"]))
    return OwnDatabase(host, int(port), str(words["dbname"]), str(words["user"]), password, tls, text)


def read_for_hosts(url: Secret) -> OwnDatabase:
    """Return the database that a URL names, for hosts of a fleet.

    Raises:
        UsageError: As in `read`; or the hosts could not use it.
    """
    found = read(url)
    if found.is_here:
        hint = "name the address at which the hosts of the fleet reach it"
        raise UsageError(f"each host of the fleet would look for {found.host} on itself", where=WHERE, hint=hint)
    if not _NAME.fullmatch(found.name):
        what = "the name of the database is a part of other names, such as that of the result database"
        raise UsageError(what, where=WHERE, hint="46 lower-case letters, digits and _ at most, and no digit first")
    return found


_NAME = re.compile("[a-z_][a-z0-9_]{0,45}")
_ENCODED = "in the password, write % as %25, @ as %40 and / as %2F"
_FORM = "postgresql://login:password@host:5432/database?sslmode=verify-full&sslrootcert=/path/of/ca.pem"


def require(database: OwnDatabase, instance: str, *, connections: int, warn: Callable[[str], None]) -> None:
    """Make sure that a platform can work with a database. What is only unwise there is passed to `warn`.

    Raises:
        AirfleetError: It cannot. The text lists everything that is missing.
    """
    refuse(examine(database, instance, connections=connections), "this PostgreSQL", WHERE, warn)


def examine(
    database: OwnDatabase, instance: str, *, connections: int, way: int = 0, results: ResultLogins | None = None
) -> list[Diagnosis]:
    """Make all checks of a database for the platform `instance`, which opens up to `connections` connections.

    If `way` is not 0, this port of this machine leads there. The time of a round trip is then not that of a host.
    `results` are the logins of the result database, which a fleet has.
    """
    try:
        with connect(database, way) as connection:
            if ask(connection, "SELECT pg_is_in_recovery()")[0]:
                return [say("error", "this server only reads: it is a replica", "name the address of the primary")]
            return [
                _judge_version(connection.info.server_version),
                *_judge_settings(connection),
                *_judge_rights(connection),
                *_judge_owner(connection, instance),
                *_judge_room(connection, connections),
                _judge_notices(connection, database, way),
                _judge_encryption(connection, database),
                *(() if way else (_judge_latency(connection),)),
                *_judge_clock(connection),
                *(result_server.examine(connection, database, results, way) if results else ()),
            ]
    except psycopg.OperationalError as error:
        first = (str(error).strip().splitlines() or ["no answer"])[0]
        hint = "is the server up, and may this machine and this login reach the database (pg_hba.conf, security group)?"
        # Only a server that answered says FATAL.
        what = f"refuses the login {database.user}" if "FATAL:" in str(error) else "does not answer"
        return [say("error", f"{join_port(database.host, database.port)} {what}: {first}", hint)]


def _judge_version(version: int) -> Diagnosis:
    major = version // 10_000
    if major < LEAST_VERSION:
        return say("error", f"it is PostgreSQL {major}", f"upgrade it to {LEAST_VERSION} or later")
    return say("ok", f"PostgreSQL {major}")


def _judge_settings(connection: psycopg.Connection) -> Iterator[Diagnosis]:
    said = {name: str(ask(connection, f"SELECT current_setting('{name}', true)")[0]) for name in (*NEEDED, *WANTED)}
    for name, (value, why) in NEEDED.items():
        if said[name] != value:
            yield say("error", f"{name} is {said[name]}, not {value}: {why}", _hint(name, value))
    for name, (values, why) in WANTED.items():
        if said[name] not in (*values, "None"):
            yield say("warning", f"{name} is {said[name]}: {why}", _hint(name, values[0]))


def _hint(name: str, value: str) -> str:
    if name == "server_encoding":
        return "make the database with: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
    return f"ALTER ROLE … SET {name} TO '{value}'"


def _judge_rights(connection: psycopg.Connection) -> Iterator[Diagnosis]:
    user, database, schema, on_database, temporary, on_schema = ask(
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
        yield say("error", f"the login {user} may not make its tables in {database}", "; ".join(missing))


def _judge_owner(connection: psycopg.Connection, instance: str) -> Iterator[Diagnosis]:
    [said] = ask(connection, database_claim.READ)
    if database_claim.is_foreign(said, instance):
        hint = "use another database; or stop that platform for good, and then run: COMMENT ON SCHEMA airfleet IS NULL"
        yield say("error", "another platform works with this database, from another state folder", hint)


def _judge_room(connection: psycopg.Connection, connections: int) -> Iterator[Diagnosis]:
    most, own, used = ask(
        connection,
        "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,"
        " (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),"
        # A platform that runs has its connections already, also those of the logins for results.
        " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename <> current_user"
        " AND NOT starts_with(usename, current_database() || '_results_'))",
    )
    room = min(most - used, own if own >= 0 else most)
    if room < connections:
        what = f"it has room for {room} more connections, and this platform opens up to {connections}"
        hint = f"raise max_connections by {connections - room}, or let fewer tasks run at once"
        yield say("warning", what, hint)


def _judge_notices(connection: psycopg.Connection, database: OwnDatabase, way: int) -> Diagnosis:
    """Check that a notice reaches a session. A pool of transactions in between loses it, and session locks too."""
    channel = sql.Identifier(f"airfleet_check_{connection.info.backend_pid}")
    connection.execute(sql.SQL("LISTEN {}").format(channel))
    with connect(database, way) as other:
        other.execute(sql.SQL("NOTIFY {}").format(channel))
    heard = next(iter(connection.notifies(timeout=NOTICE_S, stop_after=1)), None)
    connection.execute(sql.SQL("UNLISTEN {}").format(channel))
    if heard is None:
        hint = "name the server itself, or a pool in the mode `session`"
        return say("error", "a NOTIFY does not arrive: a pool of transactions is in between", hint)
    return say("ok", "notices arrive")


def _judge_encryption(connection: psycopg.Connection, database: OwnDatabase) -> Diagnosis:
    [is_encrypted] = ask(connection, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    if database.is_here:
        return say("ok", "on this machine")
    if not is_encrypted:
        return say("warning", "passwords and rows cross the network in clear", f"let the server offer TLS: {_FORM}")
    if not database.tls.get("sslmode", "").startswith("verify"):
        return say("warning", "encrypted, but nobody verifies which server answers", f"write {_FORM}")
    return say("ok", "encrypted, and the server is verified")


def _judge_latency(connection: psycopg.Connection) -> Diagnosis:
    times = []
    for _ in range(PINGS):
        begun = time.perf_counter()
        connection.execute("SELECT 1")
        times.append((time.perf_counter() - begun) * 1000)
    return judge_round_trip(SUBJECT, statistics.median(times))


def _judge_clock(connection: psycopg.Connection) -> Iterator[Diagnosis]:
    before = time.time()
    [there] = ask(connection, "SELECT extract(epoch FROM clock_timestamp())::float8")
    after = time.time()
    ahead_s = max(there - after, 0.0) or min(there - before, 0.0)
    if abs(ahead_s) > CLOCK_S:
        way = "ahead of" if ahead_s > 0 else "behind"
        yield say("warning", f"its clock is {abs(ahead_s):.0f} s {way} this machine's", "correct the wrong clock")
