"""Backups of the fleet's PostgreSQL with pgBackRest: every change at once, and a full backup once a day by default."""

from __future__ import annotations

from pathlib import Path

from airfleet import shell_script
from airfleet.components.host_model import ETC, LIB, POSTGRES, Folder, HostFile, Part, Place, Service, Stage
from airfleet.components.postgresql.psql import SOCKETS, USER, build_command
from airfleet.template import render_template
from airfleet_provider.contract import job_schema

NAME = "backup"
DATA = LIB / "postgresql"
STANZA = "airfleet"
CONFIG = ETC / "pgbackrest" / "pgbackrest.conf"
SCRIPT = ETC / "pgbackrest" / "backup.sh"
COMMAND = f"/usr/bin/pgbackrest --config={CONFIG} --stanza={STANZA}"
# This file exists from when the host becomes a replica until it is the primary and has made a backup.
PROMOTED = LIB / NAME / "promoted"
# PostgreSQL runs this command for each WAL file.
ARCHIVE_COMMAND = f"{COMMAND} archive-push %p"
LOOK_EVERY_S = 60
# The longest pause between two failed attempts, in seconds. The first pauses are shorter.
LONGEST_PAUSE_S = 600


def describe(place: Place) -> Part:
    """Describe the backup repository of this host, and the service that makes a backup when one is due.

    On a replica, the service waits until the host is promoted.
    """
    config = HostFile(CONFIG, render_config(place))
    script = HostFile(SCRIPT, render_script(place))
    service = Service(
        name=NAME,
        what="makes a backup of the databases when one is due",
        stage=Stage.EDGE,
        command=("/bin/bash", str(SCRIPT)),
        user=USER,
        files=(config, script),
    )
    return Part(
        name=NAME,
        packages=("pgbackrest",),
        # Newer packages contain a server that other hosts could reach.
        masks=("pgbackrest.service",),
        folders=(
            Folder(CONFIG.parent),
            Folder(PROMOTED.parent, USER, USER, 0o700),
            Folder(Path(place.fleet.backups.folder), USER, USER, 0o700),
        ),
        files=(config, script),
        services=(service,),
    )


def render_config(place: Place) -> str:
    """Return pgbackrest.conf: the server, the repository, and the number of backups to keep."""
    wanted = place.fleet.backups
    return render_template(
        __package__,
        "pgbackrest.conf",
        repository=wanted.folder,
        keep=wanted.keep,
        processes=max(1, place.machine.cpus // 2),
        sockets=SOCKETS,
        stanza=STANZA,
        data=DATA,
        port=POSTGRES,
    )


def render_script(place: Place) -> str:
    """Return the program of the service: it waits until this host is the primary and its newest backup is too old."""
    wanted = place.fleet.backups
    return render_functions(wanted.folder) + shell_script.render_script(
        __package__,
        "backup",
        PROMOTED=PROMOTED,
        EVERY_S=wanted.every_hours * 3600,
        LONGEST_PAUSE_S=LONGEST_PAUSE_S,
        LOOK_EVERY_S=LOOK_EVERY_S,
        METADATA_PSQL=build_command("airflow"),
        JOB=job_schema.BACKUP,
    )


def render_functions(folder: str) -> str:
    """Return the shell functions of the programs that make a backup. The repository is in `folder`."""
    return shell_script.render_script(
        __package__, "backup_functions", PGBACKREST=COMMAND, PSQL=build_command(), REPOSITORY=folder, STANZA=STANZA
    )
