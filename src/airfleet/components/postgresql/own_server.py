"""A PostgreSQL that somebody else runs, for a fleet: the job that makes what the fleet needs there (ADR 53)."""

from __future__ import annotations

import json

from airfleet.components.host_model import SERVER_USER, Job, Place, Stage
from airfleet.components.hosts.database_urls import HOME, SESSION
from airfleet.components.model import OwnDatabase
from airfleet.components.postgresql import result_database
from airfleet.components.postgresql.result_database import ResultNames
from airfleet.components.postgresql.server import ASK_AIRFLOW
from airfleet.spec.secrets import Secret, by_login
from airfleet_provider.contract.migrations import runner
from airfleet_provider.contract.migrations.runner import MigratedDatabase, MigrationKind

NAME, CLEANUP = "own-database", "own-database-cleanup"
PROGRAM = "airfleet_provider.own_server"


def list_logins(names: ResultNames, logins: result_database.ResultLogins) -> dict[str, dict[str, Secret]]:
    """Return the two roles of the result database, each with its valid logins and their passwords."""
    return {names.writer: by_login(names.writer, logins.writer), names.reader: by_login(names.reader, logins.reader)}


def ask_airflow(place: Place) -> str:
    """Return the command that prints what `-c SQL` says of the metadata database, on the host of `fleet.primary`.

    That is psql on a database host, or a program of the first scheduler host. The URL comes from a file there.
    """
    if place.credentials.database is None:
        return ASK_AIRFLOW
    return f"env - bash -c 'set -a; . {SESSION}; exec {place.runtime}/bin/python -m {PROGRAM} \"$@\"' ask"


def list_jobs(place: Place) -> tuple[Job, ...]:
    """Return the jobs of the first scheduler host; none where airfleet runs PostgreSQL itself."""
    own = place.site(HOME).own_database
    if own is None:
        return ()
    migrations = runner.read_own(MigratedDatabase.RESULTS)
    post = [one for one in migrations if one.kind is MigrationKind.POST]
    what = "the result database, on your PostgreSQL"
    version = runner.compute_digest(migrations)
    make = Job(NAME, what, Stage.DATABASES, _order(place, own, MigrationKind.PRE, version), SERVER_USER)
    if not post:
        return (make,)
    what = "remove from the results of tasks what only former versions used"
    script = _order(place, own, MigrationKind.POST, version)
    return (make, Job(CLEANUP, what, Stage.CLEANUP, script, SERVER_USER, version=runner.compute_digest(post)))


def _order(place: Place, own: OwnDatabase, kind: MigrationKind, version: str) -> Secret:
    """Return the script that calls the program. The order goes through standard input, as it holds passwords."""
    names = result_database.name_beside(own.name)
    logins = list_logins(names, place.credentials.results)
    order = {
        "metadata": own.dsn().reveal(),
        "platform": place.credentials.identity,
        "kinds": [kind.value],
        "results": {
            "database": names.database,
            "url": own.beside(names.database).dsn().reveal(),
            "roles": {role: {key: one.reveal() for key, one in valid.items()} for role, valid in logins.items()},
            "rights": result_database.render_rights(names),
        },
    }
    command = f"{place.runtime}/bin/python -m {PROGRAM}"
    return Secret(f"{command} <<'END_OF_ORDER'\n{json.dumps(order)}\nEND_OF_ORDER\n# {version}\n")
