"""Replication between database hosts: the source of replicas, synchronous commits, a guard against two primaries."""

from __future__ import annotations

from airfleet.components.host_model import ETC, LIB, POSTGRES, HostFile, Job, Place, Service, Stage
from airfleet.components.postgresql.psql import USER, build_command
from airfleet.shell_script import render_script
from airfleet.spec.secrets import Secret, find_login

DATA = LIB / "postgresql"
GUARD = ETC / "postgresql" / "guard.sh"
# libpq reads login and password from this file at each connection, so a rotation restarts nothing.
LOGIN, SERVICE = ETC / "postgresql" / "replicator.conf", "airfleet_replication"
ENVIRONMENT = {"PGSERVICEFILE": str(LOGIN)}
LOOK_EVERY_S = 2


def list_peers(place: Place) -> tuple[str, ...]:
    """Return the addresses of the other database hosts. A promotion can make each of them the primary."""
    return tuple(host.address for host in place.fleet.with_role("database") if host != place.host)


def find_programs(place: Place) -> str:
    """Return the folder of PostgreSQL's programs on a host."""
    return f"/usr/lib/postgresql/{place.machine.system.postgresql}/bin"


def list_files(place: Place) -> tuple[HostFile, ...]:
    """Return the files of the guard that prevents a second primary."""
    if not list_peers(place):
        return ()
    return (HostFile(GUARD, render_guard(place)),)


def list_logins(place: Place) -> tuple[HostFile, ...]:
    """Return the file with this host's login at the other hosts. Only the server's user may read it."""
    if not list_peers(place):
        return ()
    password = place.credentials.replication
    login = f"[{SERVICE}]\nuser={find_login('replicator', password)}\npassword={password.reveal()}\n"
    login += "".join(f"{name}={value}\n" for name, value in place.credentials.encryption.client_words.items())
    return (HostFile(LOGIN, Secret(login), USER, 0o600, USER),)


def render_source(place: Place) -> str:
    """Return a connection string of libpq that leads to whichever host accepts writes."""
    hosts = ",".join(list_peers(place))
    return f"service={SERVICE} host={hosts} port={POSTGRES} target_session_attrs=read-write connect_timeout=5"


def guard(command: tuple[str, ...], place: Place) -> tuple[str, ...]:
    """Return the server's command with the guard in front. It does not start if another server has been promoted."""
    return ("/bin/bash", str(GUARD), *command) if list_peers(place) else command


def describe_watch(place: Place, files: tuple[HostFile, ...]) -> tuple[Service, ...]:
    """Describe the service that stops this server if another was promoted meanwhile, as in a network partition."""
    if not files:
        return ()
    watch = Service(
        name="postgresql-guard",
        what="stops PostgreSQL here when another host has become the primary",
        stage=Stage.EDGE,
        command=("/bin/bash", str(GUARD), "watch"),
        user=USER,
        files=files,
        env=ENVIRONMENT,
    )
    return (watch,)


def render_guard(place: Place) -> str:
    """Return the program of the guard. A former primary finds a server with a higher timeline than its own.

    Each promotion increases the timeline of the promoted server. With synchronous replication, a server that reaches
    no other server does not start either, because it could not confirm a commit.
    """
    return render_script(
        __package__,
        "guard",
        PEERS=" ".join(list_peers(place)),
        BIN=find_programs(place),
        DATA=DATA,
        PORT=POSTGRES,
        SERVICE=SERVICE,
        LOOK_EVERY_S=LOOK_EVERY_S,
    )


def copy_primary(place: Place) -> Job:
    """Describe the job that makes this host a replica of the current primary.

    The data of a former primary is moved aside and kept. The job moves it only when the copy is complete, and does
    nothing while no other host accepts writes.
    """
    script = render_script(
        __package__,
        "copy_primary",
        DATA=DATA,
        BIN=find_programs(place),
        LOGIN=LOGIN,
        SOURCE=render_source(place),
    )
    return Job("postgresql-copy", "copy the primary", Stage.POOLER, turn(place, script), timeout_s=3600)


def follow(place: Place) -> Job:
    """Describe the job that resets the source which earlier versions wrote with ALTER SYSTEM.

    Then the replica reads its source from postgresql.conf.
    """
    sql = "ALTER SYSTEM RESET primary_conninfo;\nSELECT pg_reload_conf();"
    script = f"{build_command()} -o /dev/null <<'SQL'\n{sql}\nSQL\n"
    return Job("postgresql-follow", "say where to copy from", Stage.METADATA, turn(place, script), USER)


def synchronise(place: Place) -> Job:
    """Describe the job that turns synchronous commits on or off.

    It turns them on only when a replica is connected: without one, a commit would wait for ever.
    """
    if place.fleet.replication == "asynchronous" or not list_peers(place):
        stage, names, wait = Stage.STORES, "''", ""
    else:
        stage, names = Stage.METADATA, "'ANY 1 (*)'"
        wait = render_script(__package__, "await_replica", PSQL=build_command())
    sql = f"ALTER SYSTEM SET synchronous_standby_names = {names};\nSELECT pg_reload_conf();"
    script = f"{wait}{build_command()} <<'SQL'\n{sql}\nSQL\n"
    return Job("postgresql-sync", "say what a commit waits for", stage, turn(place, script), USER, ("postgresql",))


def turn(place: Place, script: str) -> Secret:
    """Return a script that differs after each promotion, so that it runs again on every host."""
    count = place.fleet.promoted.turn
    return Secret(f"{script}# promotion {count}\n" if count else script)
