"""Writers on database hosts, which remember each commit that was confirmed to them."""

from __future__ import annotations

import secrets
import subprocess
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self

from machines import Machine

PSQL = "runuser -u postgres -- psql -XAtq -h /run/postgresql airflow"
TABLE = """
CREATE SCHEMA IF NOT EXISTS drill_trials;
CREATE TABLE IF NOT EXISTS drill_trials.write (writer text, number int, PRIMARY KEY (writer, number));
"""
ALL = "SELECT writer, number FROM drill_trials.write"
# The loop has no time limit: PostgreSQL ends a wait for the standby that is cancelled as if all was well.
LOOP = """
n=0
while :; do
  n=$((n + 1))
  began=$(date +%s.%N)
  if {psql} -c "INSERT INTO drill_trials.write VALUES ('{writer}', $n)" >/dev/null 2>&1; then
    echo "{host} {writer} $n $began $(date +%s.%N)"
  else
    echo -  # the loop ends when nobody reads it any more
  fi
  sleep 0.1
done
"""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """One commit that was confirmed. Times are those of the one clock that all machines have."""

    host: str
    writer: str
    number: int
    began: float
    ended: float


@dataclass(slots=True)
class Writer:
    """Writes on some database hosts at once while it is open."""

    trial: int
    _running: list[subprocess.Popen[str]] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)
    _lines: list[Confirmed] = field(default_factory=list)

    @classmethod
    def everywhere(cls, machines: Iterable[Machine], trial: int) -> Self:
        made = cls(trial)
        for machine in machines:
            made.add(machine)
        return made

    def add(self, machine: Machine) -> None:
        """Write on a machine, such as one that has booted."""
        # A trial that was interrupted has left rows, and is done again under the same number.
        writer = f"{self.trial}-{machine.name}-{secrets.token_hex(3)}"
        loop = LOOP.format(psql=PSQL, writer=writer, host=machine.name)
        argv = ["ssh", "-F", str(machine.layout.ssh_config), machine.name, "sudo", "sh", "-s"]
        started = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert started.stdin
        started.stdin.write(loop)
        started.stdin.close()
        reader = threading.Thread(target=self._collect, args=(started,), daemon=True)
        reader.start()
        self._running.append(started)
        self._threads.append(reader)

    def _collect(self, started: subprocess.Popen[str]) -> None:
        assert started.stdout
        for line in started.stdout:
            match line.split():
                case [host, writer, number, began, ended]:
                    self._lines.append(Confirmed(host, writer, int(number), float(began), float(ended)))

    def read(self) -> Sequence[Confirmed]:
        """Return what was confirmed up to now."""
        return tuple(self._lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._running:
            one.kill()
        for thread in self._threads:
            thread.join(10)


def make_table(machine: Machine) -> None:
    """Make the table of the writers, on the primary."""
    machine.console(f"{PSQL} <<'END'\n{TABLE}\nEND")


def find_lost(lines: Iterable[Confirmed], primary: Machine) -> set[tuple[str, int]]:
    """Return the confirmed rows that the primary does not have."""
    told = primary.console(f"{PSQL} -F ' ' -c '{ALL}'")
    present = {(writer, int(number)) for writer, number in map(str.split, told.splitlines())}
    return {(one.writer, one.number) for one in lines} - present


def wrote_at_once(lines: Iterable[Confirmed]) -> bool:
    """Return whether a host confirmed a write that began after another host, which followed it, had confirmed one."""
    first: dict[str, float] = {}
    for one in sorted(lines, key=lambda line: line.ended):
        first.setdefault(one.host, one.ended)
    order = list(first)
    return any(one.began > first[later] for one in lines for later in order[order.index(one.host) + 1 :])
