"""The metadata database: an embedded PostgreSQL on one machine."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from airfleet.components.health import LoginCheck
from airfleet.components.model import Command, Component, Credentials, Process, Site
from airfleet.spec.fleet import Fleet
from airfleet.spec.secrets import Secret, list_accepted

SUPERUSER = "postgres"


def describe(fleet: Fleet, site: Site, credentials: Credentials) -> Component:
    """Describe a server that listens on the loopback only and requires a password of every login."""
    initdb = Command(
        argv=(
            str(site.postgres_bin / "initdb"),
            f"--username={SUPERUSER}",
            "--pwfile=/dev/stdin",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--pgdata",
        ),
        creates=site.postgres_data,
        stdin=credentials.superuser,
        unprivileged=True,
    )
    owners = {"airflow": credentials.airflow, **credentials.databases}
    readers = credentials.results.by_role if credentials.results else {}
    options = tuple(f"--{key}={value}" for key, value in _list_options(fleet, site).items())
    server = Process(
        name="postgres",
        commands=((str(site.postgres_bin / "postgres"), "-D", str(site.postgres_data), *options),),
        health=LoginCheck(),
        url=f"postgresql://127.0.0.1:{site.database_port}",
        stop_signal="SIGINT",
        stop_timeout_s=30,
        unprivileged=True,
    )
    databases = Process(
        name="databases",
        commands=((str(site.python), "-m", "airfleet.runners.local.databases"),),
        after=("postgres",),
        once=True,
        gated=True,
        env={
            "AIRFLEET_SUPERUSER_DSNS": Secret(json.dumps(list_superuser_dsns(site, credentials))),
            "AIRFLEET_SUPERUSER": credentials.superuser,
            "AIRFLEET_DATABASES": Secret(json.dumps({name: secret.reveal() for name, secret in owners.items()})),
            "AIRFLEET_RESULTS": Secret(json.dumps({name: secret.reveal() for name, secret in readers.items()})),
        },
    )
    return Component(name="postgres", processes=(server, databases), prepare=(initdb,))


def list_superuser_dsns(site: Site, credentials: Credentials) -> list[str]:
    """Return the URLs with which the superuser may log in: with the present password, or with a former one."""
    return [site.dsn(SUPERUSER, SUPERUSER, one).reveal() for one in list_accepted(credentials.superuser)]


def wal_archive(backups: Path) -> Path:
    """Return the folder of archived WAL. The server archives nothing before the first backup creates this folder."""
    return backups / "wal"


def archive_options(backups: Path) -> dict[str, str]:
    """Return the server's options that archive its WAL. A compressed file appears only when it is complete."""
    folder = _quote(wal_archive(backups))
    target, draft = f"{folder}/%f.gz", f"{folder}/%f.new"
    command = (
        f"test ! -d {folder} || if test -e {target}; then gzip -dc {target} | cmp -s - %p;"
        f" else gzip -c %p > {draft} && sync {draft} && mv {draft} {target}; fi"
    )
    return {"archive_mode": "on", "archive_command": command, "archive_timeout": "300"}


def restore_command(backups: Path) -> str:
    """Return the command with which a server in recovery fetches an archived WAL file."""
    return f"gzip -dc {_quote(wal_archive(backups))}/%f.gz > %p"


def _quote(folder: Path) -> str:
    # The text passes PostgreSQL, which replaces %f, %p and %%, and then the shell.
    return shlex.quote(str(folder).replace("%", "%%"))


def _list_options(fleet: Fleet, site: Site) -> dict[str, str]:
    return {
        "listen_addresses": "127.0.0.1",
        "port": str(site.database_port),
        "unix_socket_directories": "",
        # Each process of Airflow keeps up to 15 connections. Every running task adds the connections of its hooks.
        "max_connections": str(100 + 2 * fleet.parallelism),
        "jit": "off",
        **archive_options(site.backups),
        "log_line_prefix": "%m [%p] %u@%d ",
        "timezone": "UTC",
    }
