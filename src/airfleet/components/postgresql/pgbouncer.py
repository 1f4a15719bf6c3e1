"""PgBouncer: it serves many short connections of Airflow with few connections to the primary."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from airfleet.components.health import TcpCheck
from airfleet.components.host_model import (
    ETC,
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
from airfleet.components.hosts import certificates
from airfleet.components.model import DEAD_PEER
from airfleet.components.postgresql import patroni, result_database
from airfleet.components.postgresql.server import METADATA_POOL, PROJECT_POOL, RESULTS_POOL, SESSION_POOL, former_logins
from airfleet.shell_script import render_script
from airfleet.spec.secrets import by_login

# Every worker can reach the pooler, and PostgreSQL trusts the user `postgres` as superuser. So the pooler needs its own
# user.
USER = "pgbouncer"
FOLDER = ETC / "pgbouncer"
TLS = FOLDER / "tls.ini"
COMMAND = ("/usr/sbin/pgbouncer", str(FOLDER / "pgbouncer.ini"))
# What runs PgBouncer while the server of its host takes writes.
FOLLOW = FOLDER / "run_pgbouncer.sh"
FOLLOW_S = 0.2


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
    local, pool = f"host=127.0.0.1 port={POSTGRES}", f"pool_mode=session pool_size={PROJECT_POOL}"
    listens = place.listen if place.listen == "0.0.0.0" else f"127.0.0.1,{place.listen}"  # noqa: S104
    config = "\n".join(
        [
            ";; Written by airfleet.",
            "[databases]",
            f"airflow = {local} dbname=airflow pool_size={METADATA_POOL}",
            # Migrations, LISTEN, advisory locks and prepared statements need a session.
            f"airflow_session = {local} dbname=airflow pool_mode=session pool_size={SESSION_POOL}",
            *(
                f"{name} = {local} dbname={name} pool_size={RESULTS_POOL}"
                for name in (*former_logins(place), result_database.DATABASE)
            ),
            *(f"{name} = {local} dbname={name} {pool}" for name in place.fleet.databases),
            "[pgbouncer]",
            f"listen_addr = {listens}",
            f"listen_port = {PGBOUNCER}",
            "unix_socket_dir =",
            "auth_type = scram-sha-256",
            f"auth_file = {FOLDER / 'users.txt'}",
            "pool_mode = transaction",
            "max_client_conn = 2000",
            "server_idle_timeout = 60",
            # Clients of a server that starts again are refused until PgBouncer has tried once more.
            "server_login_retry = 1",
            # As PostgreSQL's own: if a client's host is gone, its sessions end and their locks are released.
            f"tcp_keepidle = {DEAD_PEER['keepalives_idle']}",
            f"tcp_keepintvl = {DEAD_PEER['keepalives_interval']}",
            f"tcp_keepcnt = {DEAD_PEER['keepalives_count']}",
            f"tcp_user_timeout = {DEAD_PEER['tcp_user_timeout']}",
            "ignore_startup_parameters = extra_float_digits",
            f"%include {TLS}",
            "",
        ]
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
    """How clients reach PgBouncer; to the server it speaks on the loopback."""
    mode = "require" if place.credentials.encryption.is_required else "allow"
    lines = [
        ";; Written by airfleet.",
        f"client_tls_sslmode = {mode}",
        f"client_tls_cert_file = {FOLDER / 'host.pem'}",
        f"client_tls_key_file = {FOLDER / 'host.key'}",
        "client_tls_protocols = tlsv1.3",
        "",
    ]
    return "\n".join(lines)
