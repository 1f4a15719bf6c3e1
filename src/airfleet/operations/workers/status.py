"""The state of each worker from what is found on its host, and the workers that a name means. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from airfleet.errors import UsageError
from airfleet_provider.contract.text import one_line

State = Literal["serving", "full", "draining", "drained", "starting", "away"]
# A worker that lives touches its note every 5 s.
SILENT_S = 20.0
# More than a worker ever writes; a task of its can write anything there.
NOTE_BYTES = 1 << 20
MOST_SLOTS = 1_000_000


@dataclass(frozen=True, slots=True)
class WorkerTask:
    """A task that a worker took: it runs, or it still waits for a slot of that worker."""

    name: str
    running: bool


@dataclass(frozen=True, slots=True)
class Worker:
    """One pool on one host; of one that is away, nothing is known but why."""

    host: str
    pool: str
    state: State
    queues: tuple[str, ...] = ()
    slots: int = 0
    tasks: tuple[WorkerTask, ...] = ()
    why: str = ""

    @property
    def name(self) -> str:
        """What Celery calls it, too."""
        return f"{self.pool}@{self.host}"

    @property
    def is_at_rest(self) -> bool:
        """Whether it neither runs a task nor would take one."""
        return self.state == "drained"


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What is found where a worker should be: its process, its note and the note's age, and whether it is to drain."""

    pid: int | None
    stopping: bool
    marked: bool
    age_s: float | None
    note: str


def judge(host: str, pool: str, queues: tuple[str, ...], slots: int, facts: WorkerFacts) -> Worker:
    """How a worker stands; what its file says of queues and slots goes where it cannot say so itself."""
    if facts.pid is None:
        # Nothing runs there, and nothing will: the mark outlasts the process.
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
    takes = said in ("serving", "full")
    state = "draining" if said == "draining" or takes == facts.marked else said or "starting"
    why = "its disk is full: it takes no tasks" if state == "full" else ""
    return Worker(
        host, pool, state, _list_queues(note.get("queues"), queues), _count(note.get("slots"), slots), tasks, why
    )


def choose(workers: Sequence[Worker], targets: Sequence[str]) -> tuple[Worker, ...]:
    """The workers that are called by their host, or by `pool@host`; raises UsageError for a name that is nobody's."""
    chosen: dict[str, Worker] = {}
    for target in targets:
        found = [worker for worker in workers if target in (worker.host, worker.name)]
        if not found:
            known = ", ".join(sorted({worker.host for worker in workers} | {worker.name for worker in workers}))
            raise UsageError(f"there is no worker {target!r}", hint=f"one of {known}")
        chosen |= {worker.name: worker for worker in found}
    return tuple(chosen.values())


def list_deserted(workers: Iterable[Worker], leaving: Iterable[Worker]) -> tuple[str, ...]:
    """The queues that nobody serves once these have gone."""
    names = {worker.name for worker in leaving}
    left = {queue for worker in leaving_out(workers, names) if worker.state == "serving" for queue in worker.queues}
    return tuple(sorted({queue for worker in workers if worker.name in names for queue in worker.queues} - left))


def leaving_out(workers: Iterable[Worker], names: Iterable[str]) -> tuple[Worker, ...]:
    """All but these."""
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
