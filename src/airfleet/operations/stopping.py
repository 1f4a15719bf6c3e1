"""Stop Airflow on a fleet, and nothing else: schedulers first, then workers, then the web hosts that tasks need."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from airfleet.errors import AirfleetError
from airfleet.runners.fleet.transport.connection import HostError
from airfleet.runners.fleet.transport.shell import Shell

POLL_S = 2.0
# The groups stop in this order. A service in no group, such as the database, continues to run.
GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("schedulers", ("scheduler", "dag-processor", "triggerer", "releaser", "archiver", "agents")),
    ("workers, once their tasks have ended", ("worker-*",)),
    ("web hosts", ("api-server", "execution-api", "triggerer-logs", "worker-logs")),
)
# This service has the name of a worker, but it serves logs to the web hosts.
LOGS = "airfleet-worker-logs.service"


@dataclass(frozen=True, slots=True)
class StopPlan:
    """The running units to stop, by group and host, and the errors of hosts that do not answer."""

    groups: tuple[tuple[str, Mapping[str, tuple[str, ...]]], ...]
    silent: tuple[AirfleetError, ...]

    @property
    def units(self) -> int:
        return sum(len(units) for _, hosts in self.groups for units in hosts.values())


def look(shells: Mapping[str, Shell]) -> StopPlan:
    """Return the units that run on each host. It changes nothing."""
    running: dict[str, frozenset[str]] = {}
    silent: list[AirfleetError] = []
    script = (
        "systemctl list-units --plain --no-legend --type=service --state=active,activating,deactivating 'airfleet-*'"
    )
    with ThreadPoolExecutor(max(1, len(shells))) as pool:
        futures = {name: pool.submit(shell.run, script, timeout_s=30) for name, shell in shells.items()}
    for name, future in futures.items():
        try:
            output = future.result()
            if output.code:
                raise HostError(f"cannot list the running services: {output.err.strip()}", where=name)
        except AirfleetError as error:
            silent.append(error)
        else:
            running[name] = frozenset(line.split()[0] for line in output.out.splitlines() if line.split())
    return StopPlan(tuple((what, _pick(words, running)) for what, words in GROUPS), tuple(silent))


def _pick(words: Iterable[str], running: Mapping[str, frozenset[str]]) -> Mapping[str, tuple[str, ...]]:
    def fits(unit: str) -> bool:
        name = unit.removeprefix("airfleet-").removesuffix(".service")
        return any(
            name.startswith(word[:-1]) and unit != LOGS if word.endswith("*") else name == word for word in words
        )

    picked = {host: tuple(sorted(filter(fits, units))) for host, units in running.items()}
    return {host: units for host, units in picked.items() if units}


def stop(
    plan: StopPlan,
    shells: Mapping[str, Shell],
    *,
    notify: Callable[[str], None],
    require: Callable[[], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Stop each group on all hosts at once, and wait for it before the next. No task is killed.

    `require` raises an error if the stop must not continue. If a host does not answer, it is asked again without end,
    because only the host itself knows whether its units have stopped.
    """
    for what, hosts in plan.groups:
        if not hosts:
            continue
        require()
        notify(f"stopping {what}: {', '.join(hosts)}")
        for name, units in hosts.items():
            done = shells[name].run(f"systemctl stop --no-block {shlex.join(units)}")
            if done.code:
                raise HostError(f"cannot stop {', '.join(units)}: {done.err.strip()}", where=name)
        _await(hosts, shells, notify=notify, require=require, sleep=sleep)


def _await(
    hosts: Mapping[str, tuple[str, ...]],
    shells: Mapping[str, Shell],
    *,
    notify: Callable[[str], None],
    require: Callable[[], None],
    sleep: Callable[[float], None],
) -> None:
    told: dict[str, str] = {}
    while True:
        left = {name: state for name, units in hosts.items() if (state := _describe(shells[name], units))}
        for name, state in left.items():
            if told.get(name) != state:
                notify(f"{name}: {state}")
        told = left
        if not left:
            return
        require()
        sleep(POLL_S)


def _describe(shell: Shell, units: Sequence[str]) -> str:
    """Describe the units that have not stopped yet, or return "" if all have."""
    script = f"for unit in {shlex.join(units)}; do echo $unit $(systemctl show -P ActiveState $unit); done"
    try:
        output = shell.run(script, timeout_s=30)
    except HostError as error:
        return error.what
    states = dict(line.split(" ", 1) for line in output.out.splitlines() if " " in line)
    busy = [unit for unit in units if states.get(unit) not in ("inactive", "failed")]
    names = [unit.removeprefix("airfleet-").removesuffix(".service") for unit in busy]
    return f"{', '.join(names)} not stopped yet" if names else ""
