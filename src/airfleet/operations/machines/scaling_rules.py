"""Which machines of a group that scales there should be, as a pure function. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from airfleet.spec.machines import MachineGroup


class ScalePhase(StrEnum):
    """What is to be done about a machine next. Each is written before the deed."""

    MAKING = "making"  # ask the driver for it
    JOINING = "joining"  # apply, until its workers report
    SERVING = "serving"
    LEAVING = "leaving"  # drain its workers, and wait until they hold no task
    ENDING = "ending"  # apply without it, and destroy it


# A host that does not join waits so long before the next apply for it: this first, and then twice as long each time.
FIRST_WAIT_S, LONGEST_WAIT_S = 30.0, 900.0
# A machine waits so long until its log agent has sent all, and goes then without.
LOGS_S = 600.0

PRESENT = (ScalePhase.MAKING, ScalePhase.JOINING, ScalePhase.SERVING)


@dataclass(frozen=True, slots=True)
class ScaledHost:
    """A machine of a group that scales. `since` are seconds since 1970, `address` is empty until it is known.

    `rests` says that its workers hold no task, and that its log agent still sends. After `failed` applies in a row it
    did not join, and the next one for it is at `retry_at`, in seconds since 1970.
    """

    name: str
    group: str
    phase: ScalePhase
    reason: str
    since: float
    address: str = ""
    rests: bool = False
    failed: int = 0
    retry_at: float = 0.0


@dataclass(frozen=True, slots=True)
class PoolNeed:
    """How many hosts the tasks of a pool need now, and needed at most during the calm of its group.

    `own` hosts of the pool are on no machine of the group.
    """

    pool: str
    needed: int
    most_needed: int
    own: int


@dataclass(frozen=True, slots=True)
class WorkerLoad:
    """What the workers of a host said a moment ago: the tasks that they hold, and the place in which it gets tasks."""

    held: int
    rank: int


@dataclass(frozen=True, slots=True)
class HostChange:
    """A machine that gets another phase, and why."""

    name: str
    phase: ScalePhase
    reason: str


def back_off(host: ScaledHost, now: float) -> ScaledHost:
    """Return a host that did not join, with the time of the next apply for it."""
    wait_s = min(FIRST_WAIT_S * 2.0**host.failed, LONGEST_WAIT_S)
    return replace(host, failed=host.failed + 1, retry_at=now + wait_s)


def is_due(host: ScaledHost, now: float) -> bool:
    """Return whether a host that did not join may have its next apply. A clock that was set back delays none."""
    return not now < host.retry_at <= now + LONGEST_WAIT_S


def decide(
    group: MachineGroup,
    needs: Sequence[PoolNeed],
    hosts: Sequence[ScaledHost],
    loads: Mapping[str, WorkerLoad],
    written: frozenset[str] = frozenset(),
) -> tuple[HostChange, ...]:
    """Return the machines of a group whose phase changes. `loads` has the hosts whose workers report.

    Machines of the names `written` are hosts of fleet.yaml itself: nobody makes, drains or ends them here.

    Guarantees: between `least` and `count` machines are present. Up, all that are missing begin at once, those that
    leave come back first. Down, one machine leaves at a time: one that is not made yet, else the one with the fewest
    tasks, and only if no task needed it during the whole calm. A host whose workers do not report is never chosen.
    """
    least, most = group.least or 0, group.count
    wanted, pool, needed = max(((one.needed - one.own, one.pool, one.needed) for one in needs), default=(0, "", 0))
    calm = max((one.most_needed - one.own for one in needs), default=0)
    wanted, calm = min(max(wanted, least), most), min(max(calm, wanted, least), most)
    present = [one for one in hosts if one.phase in PRESENT]
    why = f"the pool {pool} needs {needed} hosts" if wanted > least else f"{least} machines is the least"
    if wanted > len(present):
        return tuple(_add(group, hosts, loads, wanted - len(present), why, written))
    if calm < len(present):
        why = f"no more than {calm} machines of {group.name} were needed for {group.calm_s:g} s"
        return tuple(HostChange(name, phase, why) for name, phase in _remove(hosts, loads))
    return ()


def _add(
    group: MachineGroup,
    hosts: Sequence[ScaledHost],
    loads: Mapping[str, WorkerLoad],
    count: int,
    why: str,
    written: frozenset[str],
) -> Iterator[HostChange]:
    leaving = [one.name for one in hosts if one.phase is ScalePhase.LEAVING]
    leaving.sort(key=lambda name: -loads[name].held if name in loads else 0)
    known = written.union(one.name for one in hosts)
    free = [name for name in group.names if name not in known]
    # One that leaves is made already: its workers serve again after a look.
    chosen = [*((name, ScalePhase.JOINING) for name in leaving), *((name, ScalePhase.MAKING) for name in free)]
    for name, phase in chosen[:count]:
        yield HostChange(name, phase, why)


def _remove(hosts: Sequence[ScaledHost], loads: Mapping[str, WorkerLoad]) -> Iterator[tuple[str, ScalePhase]]:
    if unmade := [one.name for one in hosts if one.phase is ScalePhase.MAKING]:
        yield unmade[-1], ScalePhase.ENDING
    elif all(one.phase is ScalePhase.SERVING for one in hosts):
        known = [one.name for one in hosts if one.name in loads]
        if known:
            emptiest = min(known, key=lambda name: (loads[name].held, -loads[name].rank, name))
            yield emptiest, ScalePhase.LEAVING
