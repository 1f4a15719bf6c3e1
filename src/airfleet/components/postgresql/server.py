"""PostgreSQL from the system's packages, which archives its WAL: one plain server, or several that Patroni runs."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from airfleet.components.health import TcpCheck
from airfleet.components.host_model import (
    AUTHORITIES,
    ETC,
    EVERY_ADDRESS,
    LIB,
    PATRONI,
    POSTGRES,
    Folder,
    HostFile,
    Job,
    OpenPort,
    Part,
    Place,
    Service,
    Stage,
)
from airfleet.components.hosts import certificates
from airfleet.components.model import DEAD_PEER
from airfleet.components.postgresql import backups, patroni, reporting, result_database
from airfleet.components.postgresql.psql import AS_SERVER, SOCKETS, USER, build_command
from airfleet.shell_script import render_script
from airfleet.spec.addresses import is_ipv6
from airfleet.spec.fleet import Fleet
from airfleet.spec.secrets import Secret, by_login
from airfleet.template import render_template
from airfleet_provider.contract.migrations import runner
from airfleet_provider.contract.migrations.runner import MigratedDatabase, Migration, MigrationKind

CREATE = "postgresql-create"
RESULTS_CLEANUP = "results-cleanup"
DATA = LIB / "postgresql"
CONFIG = ETC / "postgresql"
# The role with which `airfleet` reads Airflow's database. It has the rights of the role `airflow` and no others: that
# role owns the database's objects, and a superuser who reads one of its views would run its functions. It has no
# password: only the server's user on this host may log in with it.
LOOKER = "airfleet_looker"
ASK_AIRFLOW = f"{AS_SERVER} {build_command('airflow', login=LOOKER)}"
MIB = 1 << 20
# The sizes of PgBouncer's pools: Airflow's by transaction and by session, Celery's results, each project database.
METADATA_POOL, SESSION_POOL, RESULTS_POOL, PROJECT_POOL = 40, 60, 20, 10
# For each web host: the eight threads of its execution API, and as many again for sessions of a process or host that
# is gone, until PgBouncer notices.
CALLS_POOL = 16
# The server has room for the sessions of a multiple of this many web hosts: so one more mostly restarts nothing.
WEB_HOSTS = 4
# Connections without PgBouncer. A scheduler host needs one for its lease and a pool of 5, and 10 more under load.
# OTHERS are for reports on a replica, backups, replicas, monitoring, and people.
SCHEDULER_SESSIONS, OTHERS = 20, 40
LEAST_CONNECTIONS, ROUND = 200, 50
# The settings in postgresql.conf that PostgreSQL reads only when it starts. It reloads all others.
READ_AT_START = (
    *("listen_addresses", "port", "unix_socket_directories", "hba_file", "ident_file", "max_connections"),
    *("shared_buffers", "max_worker_processes", "wal_level", "max_wal_senders", "archive_mode", "hot_standby"),
)
# The share of a host's memory that PostgreSQL may use, on a host with other roles and on a host of its own.
SHARED_HOST, OWN_HOST = 0.25, 0.75


def describe(place: Place) -> Part:
    is_cluster = patroni.is_wanted(place.fleet)
    bin_ = find_programs(place)
    text = render_config(place)
    config, access, names = files = (
        HostFile(CONFIG / "postgresql.conf", text),
        HostFile(CONFIG / "pg_hba.conf", render_access(place), USER, 0o640),
        HostFile(CONFIG / "pg_ident.conf", render_names(place), USER, 0o640),
    )
    proof = certificates.list_files(place, CONFIG, USER)
    # A change of the settings that PostgreSQL reads only at its start restarts it. It reloads all others, who may
    # log in, and its certificate.
    restarts = _digest_start(text)
    own: tuple[HostFile, ...] = ()
    if is_cluster:
        own = patroni.list_files(place, server=config.path, access=access.path, names=names.path, programs=bin_)
        server = patroni.describe_service(place, (*files, *proof, *own), restarts)
        make = patroni.adopt()
    else:
        server = _describe_server(bin_, (*files, *proof), restarts)
        make = _create(bin_)
    return Part(
        name="postgresql",
        packages=(f"postgresql-{place.machine.system.postgresql}",),
        early=(
            # Without this, Debian's scripts would create and start another cluster.
            HostFile(Path("/etc/postgresql-common/createcluster.conf"), "create_main_cluster = false\n"),
        ),
        masks=("postgresql.service",),
        folders=(
            Folder(CONFIG),
            Folder(DATA, USER, USER, 0o700),
            Folder(Path(SOCKETS), USER, USER, 0o2775),
            *(patroni.list_folders() if is_cluster else ()),
        ),
        files=(*files, *proof, *own),
        jobs=_list_jobs(place, make),
        services=(server,),
        ports=_ports(place),
    )


def _list_jobs(place: Place, make: Job) -> tuple[Job, ...]:
    cleanup = clean_up_results(runner.read_own(MigratedDatabase.RESULTS))
    rights = (reporting.give_rights(place),) if place.fleet.reporting else ()
    jobs = (make, _roles(place), *(_on_primary(place, job) for job in (*cleanup, *rights)))
    return jobs if place.credentials.former_results else (*jobs, _on_primary(place, _remove_former(place)))


def _on_primary(place: Place, job: Job) -> Job:
    """Return a job that ends at once on a replica: of several hosts, the one that accepts writes does it for all."""
    if not patroni.is_wanted(place.fleet):
        return job
    skip = f"[ \"$({build_command()} -c 'SELECT pg_is_in_recovery()')\" = f ] || exit 0\n"
    return replace(job, script=Secret(f"{skip}{job.script.reveal()}"))


def find_programs(place: Place) -> Path:
    """Return the folder of PostgreSQL's programs on a host."""
    return Path(f"/usr/lib/postgresql/{place.machine.system.postgresql}/bin")


def _describe_server(bin_: Path, files: tuple[HostFile, ...], restarts: str) -> Service:
    return Service(
        name="postgresql",
        what="PostgreSQL",
        stage=Stage.STORES,
        command=(str(bin_ / "postgres"), "-D", str(DATA), "-c", f"config_file={CONFIG / 'postgresql.conf'}"),
        user=USER,
        files=files,
        env={"AIRFLEET_CONFIG": restarts},
        reload=(("/bin/kill", "-HUP", "$MAINPID"),),
        kind="notify",
        stop_signal="SIGINT",
        stop_s=120,
        health=TcpCheck(POSTGRES),
    )


def _ports(place: Place) -> tuple[OpenPort, ...]:
    others = patroni.list_peers(place)
    clients = (*place.addresses("scheduler"), *others)
    ports = [OpenPort(POSTGRES, clients, "schedulers hold their lease here; replicas stream from here")]
    # Any of several may be the replica that reports read.
    if others and place.fleet.databases:
        readers = place.addresses("web", "scheduler", "worker")
        ports.append(OpenPort(POSTGRES, readers, "reports read here"))
    if readers := reporting.list_readers(place):
        ports.append(OpenPort(POSTGRES, readers, "reports of others read here"))
    if others:
        ports.append(OpenPort(PATRONI, others, "Patroni of the other database hosts"))
        if watchers := place.addresses("monitor"):
            # Without a login, its API only answers questions.
            ports.append(OpenPort(PATRONI, watchers, "metrics of Patroni"))
    return tuple(ports)


def render_config(place: Place) -> str:
    """Return postgresql.conf, sized to the memory and the CPUs of the host."""
    alone = set(place.host.roles) <= {"database", "monitor"}
    memory = int(place.machine.memory * (OWN_HOST if alone else SHARED_HOST))
    connections = count_connections(place.fleet)
    return render_template(
        __package__,
        "postgresql.conf",
        listen_addresses="*" if place.listen == EVERY_ADDRESS else f"127.0.0.1, {place.listen}",
        port=POSTGRES,
        sockets=SOCKETS,
        folder=CONFIG,
        max_connections=connections,
        shared_buffers_mb=max(128, memory // 4 // MIB),
        effective_cache_size_mb=max(256, memory * 3 // 4 // MIB),
        maintenance_work_mem_mb=min(2048, max(64, memory // 16 // MIB)),
        work_mem_mb=max(4, memory // 4 // connections // MIB),
        max_worker_processes=max(8, place.machine.cpus),
        max_parallel_workers=max(2, place.machine.cpus),
        authorities=AUTHORITIES,
        archive_command=backups.ARCHIVE_COMMAND,
        dead_peer=DEAD_PEER,
        is_cluster=patroni.is_wanted(place.fleet),
    )


def read_settings(config: str) -> dict[str, str]:
    """Return the settings of a postgresql.conf as `render_config` writes it."""
    lines = (line.partition(" = ") for line in config.splitlines() if not line.startswith("#"))
    return {key: value for key, _, value in lines}


def _digest_start(config: str) -> str:
    """Return the digest of the settings that PostgreSQL reads only when it starts."""
    settings, first = read_settings(config), config.splitlines()[0]
    text = "\n".join([first, *(f"{name} = {settings[name]}" for name in READ_AT_START), ""])
    return hashlib.sha256(text.encode()).hexdigest()


def count_connections(fleet: Fleet) -> int:
    """Return max_connections: all pools of PgBouncer, the connections without PgBouncer, and a reserve.

    It is a multiple of ROUND, because another value restarts PostgreSQL: one more database mostly fits in.
    """
    pools = METADATA_POOL + SESSION_POOL + RESULTS_POOL + PROJECT_POOL * len(fleet.databases)
    pools += CALLS_POOL * math.ceil(len(fleet.with_role("web")) / WEB_HOSTS) * WEB_HOSTS
    schedulers = SCHEDULER_SESSIONS * len(fleet.with_role("scheduler"))
    return max(LEAST_CONNECTIONS, math.ceil((pools + schedulers + OTHERS) / ROUND) * ROUND)


def render_access(place: Place) -> str:
    """Return pg_hba.conf. It admits PgBouncer of this host, schedulers, replicas, reports and monitoring."""
    replicas = patroni.list_peers(place)
    reports = place.addresses("web", "scheduler", "worker") if place.fleet.databases and replicas else ()
    return render_template(
        __package__,
        "pg_hba.conf",
        is_encrypted=place.credentials.encryption.is_required,
        databases=("airflow", *former_logins(place), result_database.DATABASE, *place.fleet.databases),
        looker=LOOKER,
        schedulers=[_mask(address) for address in place.addresses("scheduler")],
        replicas=[_mask(address) for address in replicas],
        readers=[_mask(address) for address in reports],
        reporting=reporting.LOGIN,
        reporters=[_mask(address) for address in reporting.list_readers(place)],
        replicator=patroni.REPLICATOR,
        rewinder=patroni.REWINDER,
    )


def render_names(place: Place) -> str:
    """Return pg_ident.conf: the roles that the server's own user may take without a password."""
    replicators = by_login(patroni.REPLICATOR, place.credentials.replication) if patroni.list_peers(place) else {}
    return render_template(
        __package__,
        "pg_ident.conf",
        user=USER,
        looker=LOOKER,
        replicator=patroni.REPLICATOR,
        replicators=tuple(replicators),
    )


def former_logins(place: Place) -> dict[str, Secret]:
    """Return the login of an earlier version's workers in their result database, while such workers may run."""
    password = place.credentials.former_results
    return {result_database.FORMER: password} if password else {}


def _mask(address: str) -> str:
    if is_ipv6(address):
        return address if "/" in address else f"{address}/128"
    return f"{address}/32" if address.replace(".", "").isdigit() else address


def _create(bin_: Path) -> Job:
    script = render_script(__package__, "create_cluster", DATA=DATA, BIN=bin_)
    return Job(CREATE, "make the database cluster", Stage.STORES, Secret(script), USER)


def _roles(place: Place) -> Job:
    """Describe the job that makes roles and databases. Only the role with the name of a database can use it.

    The SQL needs no quoting of values: fleet.yaml's model checks the names, and passwords are URL-safe characters.
    """
    secrets = place.credentials
    owners = {"airflow": secrets.platform.airflow, **secrets.platform.databases}
    # The server must not log a statement that fails, because it may contain a password.
    lines = ["SET client_min_messages = warning;", "SET log_min_error_statement = panic;"]
    # Nor may it show the statement to the roles that see what other sessions do, such as `airflow` and `monitor`.
    lines.append("SET track_activities = off;")
    for role, password, options in (
        *((name, secret, "") for name, secret in {**owners, **secrets.results.by_role}.items()),
        ("replicator", secrets.replication, " REPLICATION"),
        ("monitor", secrets.monitor, ""),
        *(((patroni.REWINDER, secrets.cluster.rewinder, ""),) if patroni.is_wanted(place.fleet) else ()),
    ):
        lines += _logins(role, password, options)
    for name in owners:
        exists = f"EXISTS (SELECT FROM pg_database WHERE datname = '{name}')"
        lines += [
            f'SELECT \'CREATE DATABASE "{name}" OWNER "{name}"\' WHERE NOT {exists} \\gexec',
            f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC;',
        ]
    lines += [
        _create_role(LOOKER),
        f"ALTER ROLE {LOOKER} LOGIN PASSWORD NULL;",
        f"GRANT airflow TO {LOOKER};",
        "GRANT pg_monitor TO monitor;",
        # A new active scheduler ends the sessions of the earlier one, whichever of the two logins that one has.
        "GRANT pg_signal_backend, pg_read_all_stats TO airflow;",
        'GRANT CONNECT ON DATABASE "airflow" TO monitor;',
        *reporting.make_login(place),
        "\\connect postgres",
        *(_grant_rewind() if patroni.is_wanted(place.fleet) else ()),
        f"SELECT 'CREATE DATABASE {result_database.DATABASE}' WHERE NOT EXISTS"  # noqa: S608 - a constant
        f" (SELECT FROM pg_database WHERE datname = '{result_database.DATABASE}') \\gexec",
        f"REVOKE ALL ON DATABASE {result_database.DATABASE} FROM PUBLIC;",
        f"GRANT CONNECT ON DATABASE {result_database.DATABASE} TO {result_database.WRITER}, {result_database.READER};",
        f"\\connect {result_database.DATABASE}",
        runner.render_script(runner.read_own(MigratedDatabase.RESULTS)),
        result_database.RIGHTS,
    ]
    sql = "\n".join(lines)
    if patroni.is_wanted(place.fleet):
        mark = f"airfleet {hashlib.sha256(sql.encode()).hexdigest()}"
        return patroni.make_content(f"{sql}\nCOMMENT ON ROLE {LOOKER} IS '{mark}';", mark)
    leave = render_script(__package__, "leave_patroni", DATA=DATA, PSQL=build_command())
    script = f"{leave}{build_command()} <<'SQL'\n{sql}\nSQL\n"
    return Job("postgresql-roles", "roles and databases", Stage.STORES, Secret(script), USER, after=("postgresql",))


def _logins(role: str, password: Secret, options: str) -> list[str]:
    """Return SQL that makes a login for each valid password of a role, and removes all other logins of the role.

    PostgreSQL keeps one password for each role. So during a rotation, the second password belongs to a member of the
    role, whose sessions act as the role. The SQL ends the sessions of a login that is removed.
    """
    valid = by_login(role, password)
    lines = [_create_role(role)]
    if role not in valid:
        lines.append(f'ALTER ROLE "{role}" NOLOGIN{options} PASSWORD NULL;')
    for login, value in valid.items():
        if login != role:
            lines += [_create_role(login), f'GRANT "{role}" TO "{login}";']
            # A replication session cannot SET role.
            lines += [] if "REPLICATION" in options else [f"ALTER ROLE \"{login}\" SET role = '{role}';"]
        lines.append(f"ALTER ROLE \"{login}\" LOGIN{options} PASSWORD '{value.reveal()}';")
    listed = ", ".join(f"'{login}'" for login in valid)
    return [
        *lines,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"  # noqa: S608 - names are checked
        f" WHERE usename ~ '^{role}([.][0-9]+)?$' AND usename NOT IN ({listed}) \\g /dev/null",
        "SELECT format('DROP ROLE %I', rolname) FROM pg_roles"  # noqa: S608
        f" WHERE rolname ~ '^{role}[.][0-9]+$' AND rolname NOT IN ({listed}) \\gexec",
    ]


def _grant_rewind() -> Iterator[str]:
    """What pg_rewind reads of a primary: its files, and nothing of the databases themselves."""
    for function in (
        "pg_ls_dir(text, boolean, boolean)",
        "pg_stat_file(text, boolean)",
        "pg_read_binary_file(text)",
        "pg_read_binary_file(text, bigint, bigint, boolean)",
    ):
        yield f"GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO {patroni.REWINDER};"


def _create_role(name: str) -> str:
    exists = f"EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}')"
    return f"SELECT 'CREATE ROLE \"{name}\"' WHERE NOT {exists} \\gexec"


def clean_up_results(migrations: Iterable[Migration]) -> tuple[Job, ...]:
    """The job that removes from the results what only former versions used; none where no migration does."""
    listed = tuple(migrations)
    post = [one for one in listed if one.kind is MigrationKind.POST]
    if not post:
        return ()
    sql = runner.render_script(listed, kinds=(MigrationKind.POST,))
    script = Secret(f"{build_command(result_database.DATABASE)} <<'SQL'\n{sql}\nSQL\n")
    what = "remove from the results of tasks what only former versions used"
    return (Job(RESULTS_CLEANUP, what, Stage.CLEANUP, script, USER, version=runner.compute_digest(post)),)


def _remove_former(place: Place) -> Job:
    """Describe the job that removes the result database of earlier versions and its owner. Nothing reads it now."""
    assert place.credentials.former_results is None  # noqa: S101 - a worker may still write there
    lines = (
        f"DROP DATABASE IF EXISTS {result_database.FORMER} WITH (FORCE);",
        f"DROP ROLE IF EXISTS {result_database.FORMER};",
    )
    sql = "\n".join(("SET client_min_messages = warning;", *lines))
    script = f"{build_command()} <<'SQL'\n{sql}\nSQL\n"
    what = "remove the results of earlier versions"
    return Job("postgresql-former", what, Stage.EDGE, Secret(script), USER)
