"""Two or more database hosts: which copies from which, how long a commit waits, and a guard against two primaries."""

from __future__ import annotations

from airfleet.components.host_model import ETC, LIB, POSTGRES, HostFile, Job, Place, Service, Stage
from airfleet.components.postgresql.psql import USER, build_command
from airfleet.shell_script import render_script
from airfleet.spec.secrets import Secret, find_login

DATA = LIB / "postgresql"
GUARD = ETC / "postgresql" / "guard.sh"
# libpq takes login and password from here whenever it connects, so that a rotation restarts nothing.
LOGIN, SERVICE = ETC / "postgresql" / "replicator.conf", "airfleet_replication"
ENVIRONMENT = {"PGSERVICEFILE": str(LOGIN)}
LOOK_EVERY_S = 2


def list_peers(place: Place) -> tuple[str, ...]:
    """The other database hosts; each of them may be the primary tomorrow."""
    return tuple(host.address for host in place.fleet.with_role("database") if host != place.host)


def find_programs(place: Place) -> str:
    """The folder of PostgreSQL's programs on a host."""
    return f"/usr/lib/postgresql/{place.machine.system.postgresql}/bin"


def list_files(place: Place) -> tuple[HostFile, ...]:
    """What keeps a server from being a second primary."""
    if not list_peers(place):
        return ()
    return (HostFile(GUARD, render_guard(place)),)


def list_logins(place: Place) -> tuple[HostFile, ...]:
    """How this host logs in at the others; the file belongs to the server's user alone."""
    if not list_peers(place):
        return ()
    password = place.credentials.replication
    login = f"[{SERVICE}]\nuser={find_login('replicator', password)}\npassword={password.reveal()}\n"
    return (HostFile(LOGIN, Secret(login), USER, 0o600, USER),)


def render_source(place: Place) -> str:
    """How a replica finds whichever host takes writes, in libpq's words."""
    hosts = ",".join(list_peers(place))
    return f"service={SERVICE} host={hosts} port={POSTGRES} target_session_attrs=read-write connect_timeout=5"


def guard(command: tuple[str, ...], place: Place) -> tuple[str, ...]:
    """The server's command, which is not begun where another server has been promoted."""
    return ("/bin/bash", str(GUARD), *command) if list_peers(place) else command


def describe_watch(place: Place, files: tuple[HostFile, ...]) -> tuple[Service, ...]:
    """What stops this server should another be promoted while this one cannot be told, as in a partition."""
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
    """A promoted server counts its time lines up, so a primary that finds a higher count than its own is the former.

    With synchronous replication a server that reaches no other does not begin either: it could confirm nothing.
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
    """Make this host a replica of whichever host is the primary; what it held as a former primary is kept aside.

    The copy is whole before anything is moved, and there is none while no other host takes writes.
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
    """Let a replica read where it copies from in its configuration; earlier versions had the server note it itself."""
    sql = "ALTER SYSTEM RESET primary_conninfo;\nSELECT pg_reload_conf();"
    script = f"{build_command()} -o /dev/null <<'SQL'\n{sql}\nSQL\n"
    return Job("postgresql-follow", "say where to copy from", Stage.METADATA, turn(place, script), USER)


def synchronise(place: Place) -> Job:
    """Whether a commit waits for a replica; said to the server once there is one, as it would wait for ever."""
    if place.fleet.replication == "asynchronous" or not list_peers(place):
        stage, names, wait = Stage.STORES, "''", ""
    else:
        stage, names = Stage.METADATA, "'ANY 1 (*)'"
        wait = render_script(__package__, "await_replica", PSQL=build_command())
    sql = f"ALTER SYSTEM SET synchronous_standby_names = {names};\nSELECT pg_reload_conf();"
    script = f"{wait}{build_command()} <<'SQL'\n{sql}\nSQL\n"
    return Job("postgresql-sync", "say what a commit waits for", stage, turn(place, script), USER, ("postgresql",))


def turn(place: Place, script: str) -> Secret:
    """The script of a role, which is run again on every host after each promotion."""
    count = place.fleet.promoted.turn
    return Secret(f"{script}# promotion {count}\n" if count else script)
