"""What a restore runs on the hosts: each script may be run again after it was cut off at any line.

The data is made beside the present one, in `postgresql.restoring`. `restore.state` names the restore that is under way,
and the data that it made carries the same name in a file: so what lies beside the other is known at any time.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from airfleet.components.host_model import LIB
from airfleet.components.postgresql import backups
from airfleet.components.postgresql.psql import AS_SERVER, USER, build_command

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
RECOVERY = ("restore_command", "recovery_target_timeline", "recovery_target_time", "recovery_target_action")
RECOVER_S = 24 * 3600
EXCHANGE = """\
import ctypes, os, sys
call = ctypes.CDLL(None, use_errno=True).renameat2
one, other = map(os.fsencode, sys.argv[1:])
if call(-100, one, -100, other, 2):
    sys.exit("cannot exchange two folders at once: " + os.strerror(ctypes.get_errno()))
"""


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
    return f"""\
du -sb {DATA} | cut -f 1; df -B1 --output=avail {LIB} | tail -n 1
[ -f {DATA}/standby.signal ] && echo replica || echo primary
systemctl is-active -q airfleet-postgresql && echo up || echo down
{AS_SERVER} cat {DATA}/{MARK} 2>/dev/null || printf -; echo; cat {STATE} 2>/dev/null
cd {LIB}; ls -d {FORMER}* 2>/dev/null; true
"""


def parse_look(text: str) -> Situation:
    """How the data stands."""
    size, free, role, server, mark, *rest = [line.strip() for line in text.splitlines()]
    former = tuple(sorted(line for line in rest if line.startswith(FORMER)))
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


def settle() -> str:
    """Clear the place where data is made: what was never finished goes, what was the server's is kept."""
    return f"""\
own=$(head -n 1 {STATE} 2>/dev/null || true)
if [ -d {DRAFT} ]; then
  pid=$({AS_SERVER} head -n 1 {DRAFT}/postmaster.pid 2>/dev/null | tr -dc 0-9)
  if [ -n "$pid" ] && [ "$(cat /proc/$pid/comm 2>/dev/null)" = postgres ]; then
    {AS_SERVER} kill -QUIT $pid && while [ -d /proc/$pid ]; do sleep 0.1; done
  fi
  if [ -n "$own" ] && [ "$({AS_SERVER} cat {DATA}/{MARK} 2>/dev/null)" = "$own" ]; then mv {DRAFT} {LIB}/{FORMER}$own
  else rm -rf {DRAFT}; fi
fi
"""


def copy_former(order: Order) -> str:
    """Copy what an earlier restore kept aside beside the data that the server works on.

    It is recovered as if it were a backup, so that it goes on under a time line of its own: the archive holds changes
    of both under the same numbers.
    """
    lines = (
        f"restore_command = '{backups.COMMAND} --pg1-path={DRAFT} archive-get %f \"%p\"'\n"
        "recovery_target_timeline = 'current'\n"
    )
    copy = f"""\
set -eu; umask 077
cp -a --reflink=auto {LIB}/{order.backup}/. {DRAFT}
rm -f {DRAFT}/postmaster.pid {DRAFT}/{MARK}
printf %s {shlex.quote(lines)} >> {DRAFT}/postgresql.auto.conf
: > {DRAFT}/recovery.signal
"""
    return f"""\
{_begin(order)}
test -f {LIB}/{order.backup}/PG_VERSION
install -d -o {USER} -g {USER} -m 700 {DRAFT}
{AS_SERVER} sh -c {shlex.quote(copy)}
"""


def unpack(order: Order) -> str:
    """Unpack the backup beside the data that the server works on."""
    target = "--type=default"
    if order.to:
        moment = order.to.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
        target = f"--type=time --target={shlex.quote(moment)} --target-action=promote"
    return f"""\
{_begin(order)}
install -d -o {USER} -g {USER} -m 700 {DRAFT}
{AS_SERVER} {backups.COMMAND} restore --pg1-path={DRAFT} --set={order.backup} {target}
"""


def _begin(order: Order) -> str:
    state = shlex.quote(f"{order.name}\n{order.request}\n")
    return f"set -eu; cd /\n{settle()}\nprintf %s {state} > {STATE}.new; mv {STATE}.new {STATE}"


def fence(units: Iterable[str]) -> str:
    """Stop what reads or writes the database on a host, and forget what was done to the database's content.

    A replica cannot follow data of an earlier moment: it is told that it has to be copied anew.
    """
    listed = " ".join(units)
    return f"""\
set -eu
systemctl stop airfleet-backup 2>/dev/null || true
{f"systemctl stop {listed}" if listed else ":"}
if [ -d {DATA} ]; then
  systemctl disable -q {UNITS} || true
  systemctl stop {UNITS}
  if [ -f {DATA}/standby.signal ]; then {AS_SERVER} mv -T {DATA}/standby.signal {DATA}/standby.former; fi
fi
cd {LIB}/jobs 2>/dev/null && rm -f {" ".join(JOBS)}; true
"""


def recover(order: Order, bin_: str, config: str, python: str) -> str:
    """Let a server that nobody knows of recover the unpacked data, and put it in the place of the present data.

    Changes that the present server had no time to archive are taken from its own folder.
    """
    options = (
        f"-c config_file={config} -c listen_addresses= -c unix_socket_directories={DRAFT} -c archive_command= "
        "-c hot_standby=off -c synchronous_standby_names="
    )
    resets = "".join(f" -c 'ALTER SYSTEM RESET {name}'" for name in RECOVERY)
    newest = "SELECT extract(epoch FROM coalesce(pg_last_xact_replay_timestamp(), clock_timestamp()))"
    return f"""\
set -eu; cd /
wal={DATA}/pg_wal
for file in $wal/*; do
  name=${{file##*/}}
  case $name in *[!0-9A-F]*) continue;; esac
  if [ ${{#name}} = 24 ] && [ ! -f $wal/archive_status/$name.done ]; then {AS_SERVER} cp -np $file {DRAFT}/pg_wal/; fi
done
: > {LOG}; chown {USER}: {LOG}; chmod 600 {LOG}
ask() {{ {AS_SERVER} {build_command(sockets=DRAFT)} "$@"; }}
control() {{ {AS_SERVER} {bin_}/pg_ctl -D {DRAFT} -s -w -t {RECOVER_S} "$@"; }}
failed() {{
  control stop -m immediate 2>/dev/null || true
  grep FATAL: {LOG} | grep -v 'not accepting connections\\|starting up' | tail -n 1 >&2
  exit 1
}}
control start -l {LOG} -o {shlex.quote(options)} || failed
until [ "$(ask -c 'SELECT pg_is_in_recovery()' 2>/dev/null)" = f ]; do
  {AS_SERVER} {bin_}/pg_ctl -D {DRAFT} status >/dev/null || failed
  sleep 0.2
done
ask -c {shlex.quote(newest)}
ask{resets} -c 'ALTER SYSTEM RESET synchronous_standby_names'
control stop -m fast
{AS_SERVER} sh -c 'printf %s {order.name} > {DRAFT}/{MARK}'
sync -f {DRAFT}
{python} -c {shlex.quote(EXCHANGE)} {DRAFT} {DATA}
mv {DRAFT} {LIB}/{FORMER}{order.name}
sync -f {LIB}
"""


def finish() -> str:
    """Forget the restore: everything works on its data."""
    return f"{settle()}{AS_SERVER} rm -f {DATA}/{MARK}; rm -f {STATE}\n"
