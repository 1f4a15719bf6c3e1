"""Read the state of workers and mark them to drain, on the hosts of a fleet or on this machine."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from airfleet.components import worker as local_worker
from airfleet.components.host_model import WORKER_USER
from airfleet.components.hosts import workers as host_workers
from airfleet.errors import AirfleetError
from airfleet.operations.workers.status import NOTE_BYTES, Worker, WorkerFacts, judge
from airfleet.runners.fleet.transport.connection import HostError, as_host_error
from airfleet.runners.fleet.transport.sections import MARK
from airfleet.runners.fleet.transport.shell import HostShell
from airfleet.shell_script import render_script
from airfleet.spec.fleet import Fleet
from airfleet.spec.topology import Host
from airfleet.workspace.project import find_project, find_state, read_fleet
from airfleet.workspace.state_folder import StateFolder
from airfleet_provider.contract import wording

NOTE = "note"
READ_S = 5


class WorkerAccess(Protocol):
    """Access to the workers of a platform."""

    def read(self) -> tuple[Worker, ...]:
        """Return the present state of every worker."""

    def mark(self, workers: Sequence[Worker], *, drained: bool) -> None:
        """Mark workers to drain, or to serve again. The mark survives every restart."""


class FleetWorkers:
    """The workers of a fleet, over SSH."""

    def __init__(self, fleet: Fleet, shells: Mapping[str, HostShell]) -> None:
        self._fleet = fleet
        self._shells = shells

    def read(self) -> tuple[Worker, ...]:
        hosts = self._fleet.with_role("worker")
        with ThreadPoolExecutor(max(1, len(hosts))) as pool:
            return tuple(worker for found in pool.map(self._look, hosts) for worker in found)

    def mark(self, workers: Sequence[Worker], *, drained: bool) -> None:
        for worker in workers:
            script = build_marking(worker.pool, drained=drained)
            done = self._shells[worker.host].run(script)
            if done.code:
                raise HostError(f"cannot mark the worker: {done.err.strip()}", where=worker.host, hint="airfleet apply")

    def _look(self, host: Host) -> list[Worker]:
        pools = [self._fleet.pool(name) for name in host.pools]
        try:
            output = self._shells[host.name].run(build_look(host.pools), timeout_s=30)
        except Exception as error:  # an unexpected error of one host must not hide the workers of others
            why = as_host_error(error, host.name).what
            return [Worker(host.name, pool.name, "away", pool.queues, pool.concurrency, why=why) for pool in pools]
        # A worker that was not seen may still run tasks, so its state is unknown.
        by_pool = parse_look(output.out) if output.code == 0 else {}
        said = (output.err.strip().splitlines() or ["its host does not report its state"])[-1]
        return [
            judge(host.name, pool.name, pool.queues, pool.concurrency, by_pool[pool.name])
            if pool.name in by_pool
            else Worker(host.name, pool.name, "away", pool.queues, pool.concurrency, why=said)
            for pool in pools
        ]


class LocalWorkers:
    """The single worker of a platform on this machine."""

    def __init__(self, fleet: Fleet, folder: StateFolder) -> None:
        self._fleet = fleet
        self._folder = folder

    def read(self) -> tuple[Worker, ...]:
        snapshot = self._folder.read_snapshot()
        running = snapshot.processes if snapshot and self._folder.is_held() else ()
        process = next((one for one in running if one.name == local_worker.NAME), None)
        note = local_worker.notes(self._folder.root) / f"{local_worker.POOL}.json"
        facts = WorkerFacts(
            pid=process.pid if process else None,
            stopping=bool(process and process.phase == "stopping"),
            marked=local_worker.mark(self._folder.root).exists(),
            age_s=time.time() - note.stat().st_mtime if note.exists() else None,
            note=note.read_text(errors="replace")[:NOTE_BYTES] if note.exists() else "",
        )
        return (judge("localhost", local_worker.POOL, (local_worker.QUEUE,), self._fleet.parallelism, facts),)

    def mark(self, workers: Sequence[Worker], *, drained: bool) -> None:
        path = local_worker.mark(self._folder.root)
        if drained and workers:
            path.parent.mkdir(mode=0o755, exist_ok=True)
            path.touch()
        elif workers:
            path.unlink(missing_ok=True)


def find(stack: ExitStack, project: Path, state: Path | None) -> WorkerAccess:
    """Return access to the workers of a project's fleet, or of its platform on this machine.

    Raises:
        AirfleetError: The platform has no workers.
    """
    project = find_project(project)
    fleet = read_fleet(project)
    if fleet.hosts:
        shells = {host.name: HostShell(host, project) for host in fleet.with_role("worker")}
        for shell in shells.values():
            stack.callback(shell.close)
        return FleetWorkers(fleet, shells)
    if fleet.executor == "local":
        raise AirfleetError(
            "this platform has no workers: its scheduler runs the tasks",
            where=str(project),
            hint="set `executor: celery` in fleet.yaml, or name `hosts`",
        )
    return LocalWorkers(fleet, find_state(project, state))


def build_look(pools: Iterable[str]) -> str:
    """Return a script that prints for each pool the worker's process, its note, the age of the note, and its mark."""
    return render_script(
        __package__,
        "look_at_workers",
        POOLS=" ".join(pools),
        LONGEST_S=READ_S,
        LOGIN=WORKER_USER,
        NOTES=host_workers.NOTES,
        MARKS=host_workers.MARKS,
        MARK=MARK,
        NOTE_MARK=NOTE,
        NOTE_BYTES=NOTE_BYTES,
    )


def parse_look(text: str) -> dict[str, WorkerFacts]:
    """Return the facts of each pool's worker from the output of the script of `build_look`."""
    found: dict[str, WorkerFacts] = {}
    lines = text.split("\n")
    for head, after in zip(lines, [*lines[1:], ""], strict=True):
        words = head.split()
        if words[:1] != [MARK] or len(words) != 6:
            continue
        _, pool, pid, active, marked, age = words
        note = after.removeprefix(f"{NOTE} ") if after.startswith(f"{NOTE} ") else ""
        runs = active in ("active", "deactivating") and pid.isdigit() and pid != "0"
        found[pool] = WorkerFacts(
            pid=int(pid) if runs else None,
            stopping=active == "deactivating",
            marked=marked == "1",
            age_s=float(age) if note.strip() else None,
            note=note,
        )
    return found


def build_marking(pool: str, *, drained: bool) -> str:
    """Return a script that creates or deletes the mark of a pool. The mark is an empty file, so never half-made."""
    if drained:
        return render_script(__package__, "drain_pool", MARKS=host_workers.MARKS, POOL=pool)
    return f"rm -f {host_workers.MARKS}/{shlex.quote(pool)}"


def wait(
    place: WorkerAccess,
    names: Iterable[str],
    *,
    drained: bool,
    timeout_s: float,
    notify: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Worker, ...]:
    """Wait until workers are at rest, or serve again, and return those that are not after `timeout_s`.

    `notify` gets a line at each change of a worker.
    """
    wanted, deadline = frozenset(names), clock() + timeout_s
    told: dict[str, str] = {}
    while True:
        seen = place.read()
        workers = [worker for worker in seen if worker.name in wanted]
        workers += [_unseen(name) for name in sorted(wanted - {worker.name for worker in seen})]
        for worker in workers:
            line = describe(worker)
            if told.get(worker.name) != line:
                notify(line)
            told[worker.name] = line
        left = tuple(one for one in workers if not (one.is_at_rest if drained else one.state == "serving"))
        if not left or clock() >= deadline:
            return left
        sleep(1.0)


def _unseen(name: str) -> Worker:
    pool, _, host = name.partition("@")
    return Worker(host, pool, "away", why="its state is unknown")


def describe(worker: Worker) -> str:
    """Return the state of a worker in one line."""
    listed = ", ".join(_name(worker))
    tasks = f"; {wording.count(len(worker.tasks), 'task')} to go: {listed}" if worker.tasks else ""
    return f"{worker.name}: {worker.state}{tasks if worker.state != 'serving' else ''}" + (
        f" ({worker.why})" if worker.why and not tasks else ""
    )


def _name(worker: Worker) -> list[str]:
    names = [task.name for task in worker.tasks]
    return names if len(names) <= 3 else [*names[:3], "..."]
