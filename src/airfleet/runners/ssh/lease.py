"""One apply at a time: a lease on the database's host, which says who holds it and runs out by itself."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from airfleet.errors import AirfleetError
from airfleet.runners.ssh.connection import Connection, HostError

PATH = "/var/lib/airfleet/lease"
SECONDS = 60
RENEW_S = 15
TAKEN = 9


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lease, since when, and how long it still runs if nobody renews it."""

    who: str
    since: str
    left_s: int


def build_script(who: str, token: str) -> str:
    """Take or renew the lease by the host's own clock; exits with 9, and says who has it, while it is another's."""
    name = shlex.quote(json.dumps(who))
    return f"""\
mkdir -p /var/lib/airfleet; exec 9>{PATH}.lock; flock 9
now=$(date +%s); token= until=0 since= holder=
[ -f {PATH} ] && {{ read -r token; read -r until; read -r since; read -r holder; }} < {PATH}
if [ "$token" != {token} ] && [ "${{until:-0}}" -gt $now ]; then
  printf '%s\\n%s\\n%s\\n' "$holder" "$since" $(( until - now )); exit {TAKEN}
fi
[ "$token" = {token} ] || since=$(date '+%Y-%m-%d %H:%M:%S %Z')
printf '%s\\n' {token} $(( now + {SECONDS} )) "$since" {name} > {PATH}.new && mv {PATH}.new {PATH}
"""


def build_release(token: str) -> str:
    return f'exec 9>{PATH}.lock; flock 9; read -r token < {PATH} && [ "$token" = {token} ] && rm -f {PATH}; true'


def parse_holder(text: str) -> Holder:
    """Who has it, from what the script said."""
    name, since, left = [*text.splitlines(), "", "", ""][:3]
    return Holder(json.loads(name or '""'), since, int(left or 0))


@contextmanager
def hold(connection: Connection, who: str, token: str) -> Iterator[threading.Event]:
    """Hold the lease; the event is set once it is lost, so that no further step is begun."""
    _take(connection, who, token)
    lost, done = threading.Event(), threading.Event()

    def renew() -> None:
        while not done.wait(RENEW_S):
            try:
                _take(connection, who, token)
            except AirfleetError:
                lost.set()
                return

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        done.set()
        thread.join()
        with suppress(HostError):  # it runs out by itself
            connection.run(build_release(token))


def _take(connection: Connection, who: str, token: str) -> None:
    output = connection.run(build_script(who, token), timeout_s=20)
    if output.code == TAKEN:
        holder = parse_holder(output.out)
        raise AirfleetError(
            f"{holder.who} applies this fleet since {holder.since}",
            where=connection.host.name,
            hint=f"wait for it to end; if it died, its lease runs out in {holder.left_s} s",
        )
    if output.code:
        raise HostError(f"cannot take the lease: {output.err.strip()}", where=connection.host.name)
