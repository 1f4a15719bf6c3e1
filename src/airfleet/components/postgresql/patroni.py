"""Two or more database hosts: Patroni runs PostgreSQL on each, and sees to it that one and only one takes writes."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from pathlib import Path

from airfleet.components.etcd import server as etcd
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
    Place,
    Service,
    Stage,
    private,
)
from airfleet.components.hosts import certificates
from airfleet.components.postgresql.psql import SOCKETS, USER, build_command
from airfleet.shell_script import read_program, render_script
from airfleet.spec.addresses import bracket, join_port
from airfleet.spec.fleet import Fleet
from airfleet.spec.secrets import Secret, find_login

DATA = LIB / "postgresql"
FOLDER = ETC / "patroni"
CONFIG = FOLDER / "patroni.yml"
# What runs Patroni, so that a switch-over waits for nothing but PostgreSQL.
PROGRAM = FOLDER / "run_patroni.py"
# For people: patronictl with the configuration of this host.
CONTROL = FOLDER / "patronictl"
REWINDER, REPLICATOR = "rewinder", "replicator"
# There while the server takes writes. A boot removes it.
MARK, MARK_PROGRAM = Path(SOCKETS) / "airfleet-takes-writes", FOLDER / "mark_primary.sh"
# What Patroni writes itself: the passwords with which the server copies from another one.
STATE = LIB / "patroni"
# Written by the job `adopt`; without it, the unit does not start.
ADOPTED = LIB / "postgresql-adopted.env"
# A primary renews its claim every LOOP_S, and gives up by itself when it could not for RETRY_S. Nobody else is promoted
# before TTL_S have passed since it last did: LOOP_S + 2 x RETRY_S is the least that is safe.
TTL_S, LOOP_S, RETRY_S = 20, 5, 5
# How long a primary that crashed may take to start before another host is promoted.
START_S = 30
# Without synchronous replication a replica is promoted that lacks at most so much of what the primary last told.
LAG_BYTES = 64 << 20
# The same on every host, as a replica has to have as many as its primary.
WORKERS = 16
COPY_S = 3600.0
ADOPT = "postgresql-adopt"
UNIT_NAME = "postgresql"
# How the script of `hand_over` ends when another host has taken over.
HANDED_OVER = 10


def is_wanted(fleet: Fleet) -> bool:
    """Whether the fleet has several database hosts. One host is a plain server, and needs nobody to agree with."""
    return len(fleet.with_role("database")) > 1


def list_peers(place: Place) -> tuple[str, ...]:
    """The other database hosts; each of them may be the primary tomorrow."""
    return tuple(host.address for host in place.fleet.with_role("database") if host != place.host)


def render_settings(fleet: Fleet, connections: int) -> str:
    """What holds for all database hosts, in JSON; Patroni finds it in etcd."""
    settings = {
        "ttl": TTL_S,
        "loop_wait": LOOP_S,
        "retry_timeout": RETRY_S,
        "primary_start_timeout": START_S,
        "maximum_lag_on_failover": LAG_BYTES,
        # A replica that is not named as the standby is never promoted by itself. Without any standby, commits go on
        # alone, and then no other host is promoted.
        "synchronous_mode": fleet.replication == "synchronous",
        # As long as the primary reaches every other database host, it goes on without etcd.
        "failsafe_mode": True,
        "postgresql": {
            "use_pg_rewind": True,
            "use_slots": True,
            "remove_data_directory_on_rewind_failure": True,
            "remove_data_directory_on_diverged_timelines": True,
            "parameters": {
                "max_connections": connections,
                "max_worker_processes": WORKERS,
                "max_wal_senders": 10,
                "max_replication_slots": 10,
                "wal_level": "replica",
                "wal_log_hints": "on",
                "hot_standby": "on",
            },
        },
    }
    return json.dumps(settings, sort_keys=True)


def render_config(place: Place, *, server: Path, access: Path, names: Path, programs: Path) -> Secret:
    """patroni.yml, in JSON, which YAML contains; `server`, `access` and `names` are the files of PostgreSQL itself."""
    logins, host = place.credentials.cluster, place.host
    everywhere = place.listen == EVERY_ADDRESS
    listen = "0.0.0.0" if everywhere else place.own_address  # noqa: S104 - the firewall is in front
    replication = place.credentials.replication
    # The server's own user runs Patroni, so both prove the host's identity with the same files.
    certificate, key = (file.path for file in certificates.list_files(place, server.parent, USER))
    config = {
        "scope": etcd.SCOPE,
        "namespace": etcd.PREFIX,
        "name": host.name,
        "restapi": {
            "listen": join_port(listen, PATRONI),
            "connect_address": join_port(host.address, PATRONI),
            "authentication": {"username": "airfleet", "password": logins.rest.reveal()},
            "certfile": str(certificate),
            "keyfile": str(key),
            "cafile": str(AUTHORITIES),
        },
        "etcd3": {
            "hosts": etcd.list_endpoints(place.fleet),
            "protocol": "https",
            "cacert": str(AUTHORITIES),
            "username": find_login(etcd.LOGIN, logins.etcd),
            "password": logins.etcd.reveal(),
        },
        # Only the first host of the file makes a cluster from nothing: an empty host beside one with data may not.
        **({"bootstrap": {"initdb": _INITDB}} if host == place.fleet.with_role("database")[0] else {}),
        "postgresql": {
            "listen": f"{'*' if everywhere else f'127.0.0.1,{bracket(listen)}'}:{POSTGRES}",
            "connect_address": join_port(host.address, POSTGRES),
            "data_dir": str(DATA),
            "bin_dir": str(programs),
            "custom_conf": str(server),
            "pgpass": str(STATE / "pgpass"),
            "use_unix_socket": True,
            # As who replicates, Patroni logs in at its own host's server without a password (pg_ident.conf).
            "use_unix_socket_repl": True,
            "parameters": {
                "hba_file": str(access),
                "ident_file": str(names),
                "unix_socket_directories": SOCKETS,
            },
            "authentication": {
                "superuser": {"username": USER},
                "replication": _login(place, REPLICATOR, replication),
                "rewind": _login(place, REWINDER, logins.rewinder),
            },
            "callbacks": {name: str(MARK_PROGRAM) for name in ("on_role_change", "on_start", "on_stop", "on_restart")},
            # Patroni says that a server has stopped when all of its processes have ended, and one of them still hands
            # over the last WAL file to the archive. Another host may take writes by then.
            "before_stop": f"{MARK_PROGRAM} before_stop",
        },
        "watchdog": {"mode": "automatic", "device": "/dev/watchdog", "safety_margin": 5},
    }
    return Secret(json.dumps(config, indent=1, sort_keys=True) + "\n")


_INITDB = [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, {"auth-local": "peer"}, {"auth-host": "scram-sha-256"}]


def _login(place: Place, role: str, password: Secret) -> dict[str, str]:
    login = {"username": find_login(role, password), "password": password.reveal()}
    return {**login, **place.credentials.encryption.client_words}


def list_files(place: Place, *, server: Path, access: Path, names: Path, programs: Path) -> tuple[HostFile, ...]:
    """Patroni's configuration, the program that runs it, and the one that marks the primary."""
    mark = render_script(__package__, "mark_primary", MARK=MARK, PSQL=build_command())
    config = render_config(place, server=server, access=access, names=names, programs=programs)
    control = f'exec {place.patroni}/bin/python -c "from patroni.ctl import ctl; ctl()" -c {CONFIG} "$@"'
    return (
        HostFile(CONTROL, f"#!/bin/sh\n{control}\n", mode=0o755),
        private(CONFIG, config.reveal(), USER),
        HostFile(PROGRAM, read_program(__package__, "run_patroni")),
        HostFile(MARK_PROGRAM, f"#!/bin/sh\n{mark}", mode=0o755),
    )


def describe_service(place: Place, files: Iterable[HostFile], restarts: str) -> Service:
    """Describe Patroni, with PostgreSQL below it. Another value of `restarts` or another program restarts both."""
    files = tuple(files)
    [program] = [file for file in files if file.path == PROGRAM]
    return Service(
        # As one host's plain server is called, so that going from one to several is one restart.
        name=UNIT_NAME,
        what="PostgreSQL, run by Patroni",
        stage=Stage.STORES,
        # -I: neither the folder of the program nor the environment adds to what Python imports.
        command=(str(place.patroni / "bin" / "python"), "-I", str(PROGRAM), str(CONFIG)),
        user=USER,
        files=files,
        env={"AIRFLEET_CONFIG": restarts, "AIRFLEET_PROGRAM": program.digest},
        # The unit is on the host before `adopt` has looked at the data. systemd would start it there, after a crash, a
        # boot, or in place of a server that an earlier version keeps from starting because another host was promoted.
        env_files=(ADOPTED,),
        reload=(("/bin/kill", "-HUP", "$MAINPID"),),
        # As for a plain server: when Patroni takes one over, this unit already stops it, and with SIGTERM the server
        # would wait until every client has gone.
        stop_signal="SIGINT",
        stop_s=120,
        # Whether it looks after the server. A copy of another host may take an hour, which a job waits for.
        health=TcpCheck(PATRONI, place.own_address),
        # A kernel's watchdog, where there is one, restarts a primary whose Patroni hangs.
        sandbox={"PrivateDevices": "no", "DevicePolicy": "closed", "DeviceAllow": "/dev/watchdog rw"},
    )


def list_folders() -> tuple[Folder, ...]:
    """Where Patroni's files are."""
    return (Folder(FOLDER), Folder(STATE, USER, USER, 0o700))


def adopt() -> Job:
    """Let Patroni start, after a check: data that it takes over has to be in use, as a former primary's may be old."""
    script = render_script(__package__, "adopt_data", DATA=DATA, CONTROL=CONTROL, ADOPTED=ADOPTED, TIMES=60)
    return Job(ADOPT, "see that Patroni may take over the data", Stage.STORES, Secret(script))


def make_content(sql: str, mark: str) -> Job:
    """Run SQL on whichever host takes writes, and wait on all others until it has come there.

    The last statement leaves `mark` in the database, by which every host sees that all of it was done.
    """
    script = render_script(__package__, "on_primary", PSQL=build_command(), MARK=mark, SQL=sql, TIMES=int(COPY_S))
    return Job("postgresql-roles", "roles and databases", Stage.DATABASES, Secret(script), USER, timeout_s=COPY_S + 60)


def hand_over(place: Place) -> str:
    """A script that lets another host take the writes of this one; it exits with `HANDED_OVER` once one has.

    With 0 this host was not the primary; with another code nobody could take over.
    """
    return render_script(
        __package__, "hand_over", CONTROL=CONTROL, NAME=place.host.name, ASK=ask("primary"), DONE=HANDED_OVER, TIMES=20
    )


def switch(leader: str, candidate: str, *, lost: bool) -> str:
    """A script that makes a replica the primary; with `lost` also one that may lack what was confirmed."""
    words = f"failover --candidate {shlex.quote(candidate)}"
    if not lost:
        words = f"switchover --leader {shlex.quote(leader)} --candidate {shlex.quote(candidate)}"
    return f"{CONTROL} {words} --force {etcd.SCOPE} 2>&1"


def forget_past(place: Place) -> str:
    """A script that lets Patroni forget which host was the primary, and how far: for data of an earlier moment.

    It may be run while PostgreSQL of all database hosts is stopped, and no host can be promoted by another's past.
    """
    program = read_program(__package__, "forget_past")
    return f"runuser -u {USER} -- {place.patroni}/bin/python -c {shlex.quote(program)} {CONFIG}"


def ask(what: str) -> str:
    """A command that prints what Patroni of the host says to a GET of `what`; it fails unless the status is 200."""
    program = shlex.quote(read_program(__package__, "ask_patroni"))
    return f"timeout 8 python3 -c {program} {CONFIG} {shlex.quote(what)}"
