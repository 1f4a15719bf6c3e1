"""What a restore runs on the hosts: each script may be run again after it was cut off at any line.

The data is made beside the present one, in `postgresql.restoring`. `restore.state` names the restore that is under way,
and the data that it made carries the same name in a file: so what lies beside the other is known at any time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from airfleet.components.host_model import LIB
from airfleet.components.postgresql import backups
from airfleet.components.postgresql.psql import build_command
from airfleet.shell_script import read_program, render_script

DATA = backups.DATA
DRAFT = f"{DATA}.restoring"
# What a restore keeps, with the moment at which it began.
FORMER = f"{DATA.name}.before-"
STATE = f"{LIB}/restore.state"
MARK = "airfleet_restored"
LOG = f"{LIB}/restore.log"
UNITS = "airfleet-pgbouncer airfleet-postgresql"
# What fleet.yaml wants of the database's content is done again, as the restored one may be from before it.
JOBS = ("postgresql-roles", "postgresql-sync", "postgresql-copy", "metadata", "postgresql-former")
# What the recovered server forgets, as it is for this recovery alone.
SETTINGS = (
    "restore_command",
    "recovery_target_timeline",
    "recovery_target_time",
    "recovery_target_action",
    "synchronous_standby_names",
)
RECOVER_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class Order:
    """One restore: its name, the backup or the former data it begins from, and the moment; none is the newest."""

    name: str
    backup: str
    to: datetime | None = None

    @property
    def request(self) -> str:
        """What was asked for, without the name: the same words mean the same restore."""
        return f"{self.backup} {self.to.astimezone(UTC).isoformat() if self.to else 'latest'}"

    @property
    def text(self) -> str:
        """What `restore.state` says of it."""
        return f"{self.name}\n{self.request}\n"


@dataclass(frozen=True, slots=True)
class Situation:
    """How the primary's data stands: its size, the room beside it, and the restore that was cut off, if any."""

    size: int
    free: int
    is_replica: bool
    is_up: bool = True
    name: str = ""
    request: str = ""
    is_exchanged: bool = False
    former: tuple[str, ...] = ()

    def has_done(self, request: str) -> bool:
        """Whether a restore that was cut off had put this very data in its place, and nothing was written since."""
        return self.is_exchanged and not self.is_up and self.request == request


def build_look() -> str:
    """The script whose answer `parse_look` reads."""
    return render_script(__package__, "look_at_data", DATA=DATA, LIB=LIB, MARK=MARK, STATE=STATE, FORMER=FORMER)


def parse_look(text: str) -> Situation:
    """How the data stands."""
    size, free, role, server, mark, *rest = [line.strip() for line in text.splitlines()]
    # The request of a restore that takes back an earlier one begins with the same name; a moment follows it.
    former = tuple(sorted(line for line in rest if line.startswith(FORMER) and " " not in line))
    name, request = [*(line for line in rest if line not in former), "", ""][:2]
    return Situation(
        size=int(size),
        free=int(free),
        is_replica=role == "replica",
        is_up=server == "up",
        name=name,
        request=request,
        is_exchanged=bool(name) and mark == name,
        former=former,
    )


def _render(*names: str, **values: object) -> str:
    """Render programs below the functions of every restore."""
    return render_script(
        __package__,
        "restore_functions",
        *names,
        DATA=DATA,
        DRAFT=DRAFT,
        LIB=LIB,
        STATE=STATE,
        MARK=MARK,
        FORMER=FORMER,
        **values,
    )


def copy_former(order: Order) -> str:
    """Copy what an earlier restore kept aside beside the data that the server works on.

    It is recovered as if it were a backup, so that it goes on under a time line of its own: the archive holds changes
    of both under the same numbers.
    """
    source = f"{LIB}/{order.backup}"
    settings = (
        f"restore_command = '{backups.COMMAND} --pg1-path={DRAFT} archive-get %f \"%p\"'\n"
        "recovery_target_timeline = 'current'\n"
    )
    copy = render_script(__package__, "copy_as_server", SOURCE=source, DRAFT=DRAFT, MARK=MARK, SETTINGS=settings)
    return _render("begin", "copy_former", ORDER=order.text, SOURCE=source, COPY=copy)


def unpack(order: Order) -> str:
    """Unpack the backup beside the data that the server works on."""
    return _render(
        "begin",
        "unpack",
        ORDER=order.text,
        MOMENT=order.to.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00") if order.to else "",
        PGBACKREST=backups.COMMAND,
        BACKUP=order.backup,
    )


def fence(units: Iterable[str]) -> str:
    """Stop what reads or writes the database on a host, and forget what was done to the database's content.

    A replica cannot follow data of an earlier moment: it is told that it has to be copied anew.
    """
    return render_script(
        __package__,
        "fence",
        DATA=DATA,
        LIB=LIB,
        CLIENTS=" ".join(units),
        SERVERS=UNITS,
        JOBS=" ".join(JOBS),
    )


def recover(order: Order, bin_: str, config: str, python: str) -> str:
    """Let a server that nobody knows of recover the unpacked data, and put it in the place of the present data.

    Changes that the present server had no time to archive are taken from its own folder.
    """
    options = (
        f"-c config_file={config} -c listen_addresses= -c unix_socket_directories={DRAFT} -c archive_command= "
        "-c hot_standby=off -c synchronous_standby_names="
    )
    return _render(
        "recover",
        RESTORE=order.name,
        LOG=LOG,
        PSQL=build_command(sockets=DRAFT),
        BIN=bin_,
        RECOVER_S=RECOVER_S,
        OPTIONS=options,
        SETTINGS=" ".join(SETTINGS),
        PYTHON=python,
        EXCHANGE=read_program(__package__, "exchange_folders"),
    )


def finish() -> str:
    """Forget the restore: everything works on its data."""
    return _render("finish")
