"""PgBouncer: it serves many short connections of Airflow with few connections to the primary."""

from __future__ import annotations

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
from airfleet.components.model import DEAD_PEER
from airfleet.components.postgresql import result_database
from airfleet.components.postgresql.server import METADATA_POOL, PROJECT_POOL, RESULTS_POOL, SESSION_POOL, former_logins
from airfleet.spec.secrets import by_login

# Every worker can reach the pooler, and PostgreSQL trusts the user `postgres` as superuser. So the pooler needs its own
# user.
USER = "pgbouncer"


def describe(place: Place) -> Part:
    """Describe PgBouncer on a database host, in front of the server of that host."""
    secrets = place.credentials
    owners = {"airflow": secrets.platform.airflow, **former_logins(place), **secrets.results.by_role}
    owners |= secrets.platform.databases
    folder = ETC / "pgbouncer"
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
            f"auth_file = {folder / 'users.txt'}",
            "pool_mode = transaction",
            "max_client_conn = 2000",
            "server_idle_timeout = 60",
            # As PostgreSQL's own: if a client's host is gone, its sessions end and their locks are released.
            f"tcp_keepidle = {DEAD_PEER['keepalives_idle']}",
            f"tcp_keepintvl = {DEAD_PEER['keepalives_interval']}",
            f"tcp_keepcnt = {DEAD_PEER['keepalives_count']}",
            f"tcp_user_timeout = {DEAD_PEER['tcp_user_timeout']}",
            "ignore_startup_parameters = extra_float_digits",
            "",
        ]
    )
    own, passwords = HostFile(folder / "pgbouncer.ini", config), private(folder / "users.txt", users, USER)
    files = (own, passwords)
    service = Service(
        name="pgbouncer",
        what="PgBouncer",
        stage=Stage.POOLER,
        command=("/usr/sbin/pgbouncer", str(folder / "pgbouncer.ini")),
        user=USER,
        files=files,
        # A change of the configuration restarts PgBouncer. It reloads changed logins without ending a connection.
        env={"AIRFLEET_CONFIG": own.digest},
        reload=(("/bin/kill", "-HUP", "$MAINPID"),),
        kind="notify",
        stop_signal="SIGINT",
        health=TcpCheck(PGBOUNCER),
    )
    clients = place.addresses("web", "scheduler", "worker")
    return Part(
        name="pgbouncer",
        packages=("pgbouncer",),
        masks=("pgbouncer.service",),
        users=(USER,),
        folders=(Folder(folder),),
        files=files,
        services=(service,),
        ports=(OpenPort(PGBOUNCER, clients, "Airflow's database and task results"),),
    )
