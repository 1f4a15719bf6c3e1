"""PgBouncer: it serves many short connections of Airflow with few connections to the primary."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from airfleet.components.health import TcpCheck
from airfleet.components.host_model import (
    ETC,
    EVERY_ADDRESS,
    PGBOUNCER,
    POSTGRES,
    Folder,
    HostFile,
    OpenPort,
    Part,
    Place,
    Service,
    Stage,
    private,
)
from airfleet.components.hosts import certificates, database_urls
from airfleet.components.model import DEAD_PEER
from airfleet.components.postgresql import patroni, result_database
from airfleet.components.postgresql.server import (
    CALLS_POOL,
    METADATA_POOL,
    PROJECT_POOL,
    RESULTS_POOL,
    SESSION_POOL,
    former_logins,
)
from airfleet.shell_script import render_script
from airfleet.spec.secrets import by_login
from airfleet.template import render_template

# Every worker can reach the pooler, and PostgreSQL trusts the user `postgres` as superuser. So the pooler needs its own
# user.
USER = "pgbouncer"
FOLDER = ETC / "pgbouncer"
TLS = FOLDER / "tls.ini"
COMMAND = ("/usr/sbin/pgbouncer", str(FOLDER / "pgbouncer.ini"))
# What runs PgBouncer while the server of its host takes writes.
FOLLOW = FOLDER / "run_pgbouncer.sh"
FOLLOW_S = 0.2
# PgBouncer stops when every transaction and every session has ended, and lets no other begin meanwhile. The sessions of
# execution APIs last as long as their clients, so this is how long everybody waits.
STOP_S = 5


def describe(place: Place) -> Part:
    """Describe PgBouncer on a database host, in front of the server of that host."""
    secrets = place.credentials
    owners = {"airflow": secrets.platform.airflow, **former_logins(place), **secrets.results.by_role}
    owners |= secrets.platform.databases
    users = "".join(
        f'"{login}" "{value.reveal()}"\n'
        for name, secret in owners.items()
        for login, value in by_login(name, secret).items()
    )
    config = render_template(
        __package__,
        "pgbouncer.ini",
        server_port=POSTGRES,
        metadata_pool=METADATA_POOL,
        session_pool=SESSION_POOL,
        calls=database_urls.CALLS,
        calls_pool=CALLS_POOL * len(place.fleet.with_role("web")),
        results_pool=RESULTS_POOL,
        project_pool=PROJECT_POOL,
        results=(*former_logins(place), result_database.DATABASE),
        databases=tuple(place.fleet.databases),
        listen_addresses=EVERY_ADDRESS if place.listen == EVERY_ADDRESS else f"127.0.0.1,{place.listen}",
        port=PGBOUNCER,
        folder=FOLDER,
        dead_peer=DEAD_PEER,
        tls=TLS,
    )
    own, passwords = HostFile(FOLDER / "pgbouncer.ini", config), private(FOLDER / "users.txt", users, USER)
    files: tuple[HostFile, ...] = (
        own,
        passwords,
        HostFile(TLS, _render_tls(place)),
        *certificates.list_files(place, FOLDER, USER),
    )
    service = Service(
        name="pgbouncer",
        what="PgBouncer",
        stage=Stage.POOLER,
        command=COMMAND,
        user=USER,
        files=files,
        # A change of these settings restarts PgBouncer. It reloads databases, logins and what concerns TLS without
        # ending a connection.
        env={"AIRFLEET_CONFIG": hashlib.sha256(config.partition("[pgbouncer]")[2].encode()).hexdigest()},
        reload=(("/bin/kill", "-HUP", "$MAINPID"),),
        kind="notify",
        stop_signal="SIGINT",
        stop_s=STOP_S,
        health=TcpCheck(PGBOUNCER),
    )
    if patroni.is_wanted(place.fleet):
        # Of several hosts only the primary's PgBouncer listens, so that says nothing of its health.
        follow = _follow()
        env = {**service.env, "AIRFLEET_PROGRAM": follow.digest}
        service = replace(service, command=(str(FOLLOW), *COMMAND), env=env, kind="simple", health=None)
        files = (*files, follow)
    clients = place.addresses("web", "scheduler", "worker")
    return Part(
        name="pgbouncer",
        packages=("pgbouncer",),
        masks=("pgbouncer.service",),
        users=(USER,),
        folders=(Folder(FOLDER),),
        files=files,
        services=(service,),
        ports=(OpenPort(PGBOUNCER, clients, "Airflow's database and task results"),),
    )


def _follow() -> HostFile:
    script = render_script(__package__, "run_pgbouncer", MARK=patroni.MARK, PORT=POSTGRES, PAUSE_S=FOLLOW_S)
    return HostFile(FOLLOW, f"#!/bin/bash\n{script}", mode=0o755)


def _render_tls(place: Place) -> str:
    """How clients reach PgBouncer; to the server it speaks on the loopback. And which of them may see its pools.

    All of it is read without a restart, so that an exchange of certificates or logins ends no connection.
    """
    return render_template(
        __package__,
        "pgbouncer_tls.ini",
        is_required=place.credentials.encryption.is_required,
        folder=FOLDER,
        watchers=tuple(by_login("airflow", place.credentials.platform.airflow)),
    )
