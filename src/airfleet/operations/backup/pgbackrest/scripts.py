"""The scripts of a restore for the hosts. Each script may run again after an interruption at any line.

A restore makes its data beside the present data, in `postgresql.restoring`. `restore.state` names the restore that is
under way, and a file in the restored data has the same name. So it is always known which data is in which folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from airfleet.components.host_model import LIB
from airfleet.components.hosts import metadata_jobs
from airfleet.components.postgresql import backups, server
from airfleet.components.postgresql.psql import build_command
from airfleet.shell_script import read_program, render_script

DATA = backups.DATA
DRAFT = f"{DATA}.restoring"
# The prefix of the folder with former data; the time at which the restore began follows.
FORMER = f"{DATA.name}.before-"
STATE = f"{LIB}/restore.state"
MARK = "airfleet_restored"
LOG = f"{LIB}/restore.log"
UNITS = "airfleet-pgbouncer airfleet-postgresql"
# The jobs that write content of fleet.yaml to the database. The restored data may be older, so they run again.
JOBS = ("postgresql-roles", "metadata", "postgresql-former")
# The jobs that the next apply runs again, because only an apply knows whether a former version still runs.
CLEANUPS = (metadata_jobs.CLEANUP, server.RESULTS_CLEANUP)
# The settings that exist only for the recovery. The recovered server resets them.
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
    """One restore: its name, the backup or former data that it begins from, and the moment. None is the newest."""

    name: str
    backup: str
    to: datetime | None = None

    @property
    def request(self) -> str:
        """Return the request without the name. Two restores with the same request are the same."""
        return f"{self.backup} {self.to.astimezone(UTC).isoformat() if self.to else 'latest'}"

    @property
    def text(self) -> str:
        """Return the content of `restore.state`."""
        return f"{self.name}\n{self.request}\n"


@dataclass(frozen=True, slots=True)
class Situation:
    """The state of the primary's data: its size and the free space in bytes, and an interrupted restore, if any."""

    size: int
    free: int
    is_replica: bool
    is_up: bool = True
    name: str = ""
    request: str = ""
    is_exchanged: bool = False
    former: tuple[str, ...] = ()

    def has_done(self, request: str) -> bool:
        """Return whether an interrupted restore with this request has put its data in place, unchanged since."""
        return self.is_exchanged and not self.is_up and self.request == request


def build_look() -> str:
    """Return the script whose output `parse_look` reads."""
    return render_script(__package__, "look_at_data", DATA=DATA, LIB=LIB, MARK=MARK, STATE=STATE, FORMER=FORMER)


def parse_look(text: str) -> Situation:
    """Return the state of the data from the output of the script of `build_look`."""
    size, free, role, server, mark, *rest = [line.strip() for line in text.splitlines()]
    # The request of a restore that undoes an earlier one begins with the name of that restore, and a moment follows.
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
    """Render programs below the shell functions that all of them use."""
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
    """Return the script that copies the former data of an earlier restore beside the present data.

    The copy is recovered as if it were a backup, so that it gets a new timeline. Otherwise the archive would hold WAL
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
    """Return the script that unpacks the backup beside the present data."""
    return _render(
        "begin",
        "unpack",
        ORDER=order.text,
        MOMENT=order.to.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00") if order.to else "",
        PGBACKREST=backups.COMMAND,
        BACKUP=order.backup,
    )


def fence(units: Iterable[str], *, is_replica: bool = False) -> str:
    """Return the script that stops everything on a host that uses the database, and clears the records of its jobs.

    A replica cannot follow data of an earlier moment, so the script marks it to be copied again.
    """
    return render_script(
        __package__,
        "fence",
        DATA=DATA,
        LIB=LIB,
        CLIENTS=" ".join(units),
        SERVERS=UNITS,
        JOBS=" ".join((*JOBS, *CLEANUPS)),
        REPLICA="yes" if is_replica else "",
    )


def recover(order: Order, bin_: str, config: str, python: str) -> str:
    """Return the script that recovers the unpacked data and exchanges it with the present data.

    No other process can reach the server that recovers. WAL that the present server has not archived is read from its
    own folder.
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
    """Return the script that removes the record of the restore, when everything works on the restored data."""
    return _render("finish")
