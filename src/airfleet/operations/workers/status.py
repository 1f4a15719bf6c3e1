"""The state of a worker, computed from the facts on its host, and the workers that a name means. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from airfleet.errors import UsageError
from airfleet_provider.contract.text import one_line

State = Literal["serving", "full", "pressed", "draining", "drained", "starting", "away"]
# Seconds after which a note is stale. A live worker touches its note every 5 s.
SILENT_S = 20.0
# Why a worker takes no tasks though nobody drains it.
WHY = {
    "full": "its disk is full: it takes no tasks",
    "pressed": "the memory of its host is short: it takes no tasks",
}
PAGE = "somebody has drained it on the page Hosts and pools"
# Bytes of a note that are read. A worker writes less, but a task can write anything to the note.
NOTE_BYTES = 1 << 20
MOST_SLOTS = 1_000_000


@dataclass(frozen=True, slots=True)
class WorkerTask:
    """A task that a worker took from its queue. It runs, or it waits for a slot of the worker."""

    name: str
    running: bool


@dataclass(frozen=True, slots=True)
class Worker:
    """The worker of one pool on one host. If its state is unknown, `why` says why."""

    host: str
    pool: str
    state: State
    queues: tuple[str, ...] = ()
    slots: int = 0
    tasks: tuple[WorkerTask, ...] = ()
    why: str = ""
    # Whether somebody has drained it on the Fleet pages, as it reported.
    by_page: bool = False

    @property
    def name(self) -> str:
        """Return the name `pool@host`, which Celery uses too."""
        return f"{self.pool}@{self.host}"

    @property
    def is_at_rest(self) -> bool:
        """Return whether the worker runs no task and takes none."""
        return self.state == "drained"


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """The facts about a worker on its host: its process, its note, the age of the note, and the mark to drain."""

    pid: int | None
    stopping: bool
    marked: bool
    age_s: float | None
    note: str


def judge(host: str, pool: str, queues: tuple[str, ...], slots: int, facts: WorkerFacts) -> Worker:
    """Compute the state of a worker. If it does not report its queues and slots, those of fleet.yaml are used."""
    if facts.pid is None:
        # No worker runs, and none will take tasks: the mark survives the process.
        state: State = "drained" if facts.marked else "away"
        return Worker(host, pool, state, queues, slots, why="its service is not running")
    note = _read(facts.note)
    if note.get("pid") != facts.pid or facts.age_s is None:
        return Worker(host, pool, "starting", queues, slots, why="it has not reported yet")
    tasks = _list_tasks(note.get("tasks"))
    if facts.stopping:
        return Worker(host, pool, "draining", queues, slots, tasks, "it stops when its tasks have ended")
    if facts.age_s > SILENT_S:
        return Worker(host, pool, "away", queues, slots, tasks, f"it has not reported for {facts.age_s:.0f} s")
    said: State | None = next((one for one in get_args(State) if one == note.get("state")), None)
    takes = said in ("serving", "full", "pressed")
    # The worker alone knows of a drain by a page.
    by_page = note.get("by_page") is True
    is_marked = facts.marked or by_page
    state = "draining" if said == "draining" or takes == is_marked else said or "starting"
    why = PAGE if by_page and state in ("draining", "drained") else WHY.get(state, "")
    named = _list_queues(note.get("queues"), queues)
    return Worker(host, pool, state, named, _count(note.get("slots"), slots), tasks, why, by_page)


def choose(workers: Sequence[Worker], targets: Sequence[str]) -> tuple[Worker, ...]:
    """Return the workers that the targets mean. A target is a host, or `pool@host`.

    Raises:
        UsageError: No worker has this name.
    """
    chosen: dict[str, Worker] = {}
    for target in targets:
        found = [worker for worker in workers if target in (worker.host, worker.name)]
        if not found:
            known = ", ".join(sorted({worker.host for worker in workers} | {worker.name for worker in workers}))
            raise UsageError(f"there is no worker {target!r}", hint=f"one of {known}")
        chosen |= {worker.name: worker for worker in found}
    return tuple(chosen.values())


def list_deserted(workers: Iterable[Worker], leaving: Iterable[Worker]) -> tuple[str, ...]:
    """Return the queues that no worker serves without the `leaving` workers."""
    names = {worker.name for worker in leaving}
    left = {queue for worker in leaving_out(workers, names) if worker.state == "serving" for queue in worker.queues}
    return tuple(sorted({queue for worker in workers if worker.name in names for queue in worker.queues} - left))


def leaving_out(workers: Iterable[Worker], names: Iterable[str]) -> tuple[Worker, ...]:
    """Return the workers without those that have one of the names."""
    gone = frozenset(names)
    return tuple(worker for worker in workers if worker.name not in gone)


def _read(note: str) -> dict[str, Any]:
    try:
        body = json.loads(note)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _list_tasks(said: object) -> tuple[WorkerTask, ...]:
    tasks = [one for one in said if isinstance(one, dict)] if isinstance(said, list) else []
    return tuple(
        WorkerTask(f"{_name(one.get('dag'))}.{_name(one.get('task'))}", bool(one.get("running"))) for one in tasks
    )


def _name(said: object) -> str:
    return one_line(said) if isinstance(said, str) else "?"


def _list_queues(said: object, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(_name, said)) if isinstance(said, list) else otherwise


def _count(said: object, otherwise: int) -> int:
    return said if isinstance(said, int) and 0 <= said <= MOST_SLOTS else otherwise
