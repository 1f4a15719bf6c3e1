"""The order in which hosts are restarted, so that the fleet serves requests all the time. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from airfleet.components.host_model import Service, Stage
from airfleet.runners.fleet.plan.diff import DesiredHost
from airfleet.runners.fleet.plan.steps import Bring, Step
from airfleet.spec.topology import Host

# In these stages, hosts serve the same thing and change one at a time. Of workers, those that serve the same pool do.
ROLLING = frozenset({Stage.CONSENSUS, Stage.STORES, Stage.POOLER, Stage.API, Stage.CONTROL, Stage.EDGE})
STORES = frozenset({Stage.STORES, Stage.POOLER})


class Placed(Protocol):
    """An object that belongs to one host."""

    @property
    def desired(self) -> DesiredHost: ...


T = TypeVar("T", bound=Placed)
Item = tuple[T, list[Step]]


def make_waves(
    stage: Stage, work: Sequence[Item[T]], active: str = "", *, together: bool = False
) -> list[list[Item[T]]]:
    """Return the hosts of a stage in waves. The host whose scheduler is active comes last.

    Steps that only start or reload services interrupt nothing, so they share one wave. With `together`, all hosts do.
    """
    if together or not any(map(is_restart, (step for _, own in work for step in own))):
        return [list(work)] if work else []
    if stage in STORES:
        return _by_copies(work)
    if stage == Stage.CONSENSUS:
        return _starts_first(work)
    if stage == Stage.WORK:
        return _by_pools(work)
    if stage in ROLLING:
        return [[item] for item in sorted(work, key=lambda item: _host(item).name == active)]
    return [list(work)]


def _starts_first(work: Sequence[Item[T]]) -> list[list[Item[T]]]:
    """Return waves for voters: one that restarts may need those that do not run yet for a majority."""
    starts = [item for item in work if not any(map(is_restart, item[1]))]
    return [*([starts] if starts else []), *([item] for item in work if item not in starts)]


def _by_copies(work: Sequence[Item[T]]) -> list[list[Item[T]]]:
    """Return waves for stores: hosts that only start come first, because others may wait for their copy.

    Then come replicas, and last the primary. Until Patroni leads several database hosts, their primary is the first of
    all: Patroni begins with its data, and not with older data that another host may still have.
    """
    ordered = sorted(work, key=lambda item: _is_primary(item) == item[0].desired.place.fleet.promoted.is_led)
    waves = _starts_first(ordered)
    begins = [wave for wave in waves if any(map(_begins, wave))]
    return [*begins, *(wave for wave in waves if wave not in begins)]


def _is_primary(item: Item[T]) -> bool:
    place = item[0].desired.place
    return place.host == place.fleet.primary


def _begins(item: Item[T]) -> bool:
    """Whether Patroni takes over the data of the primary of several database hosts with these steps."""
    fleet = item[0].desired.place.fleet
    is_one_of_several = len(fleet.with_role("database")) > 1
    return is_one_of_several and not fleet.promoted.is_led and _is_primary(item) and any(map(is_restart, item[1]))


def _by_pools(work: Sequence[Item[T]]) -> list[list[Item[T]]]:
    waves: list[list[Item[T]]] = []
    for item in work:
        pools = set(_host(item).pools)
        for wave in waves:
            if not pools & {pool for other in wave for pool in _host(other).pools}:
                wave.append(item)
                break
        else:
            waves.append([item])
    return waves


def _host(item: Item[T]) -> Host:
    return item[0].desired.place.host


def is_restart(step: Step) -> bool:
    """Return whether the step stops a service that runs."""
    return isinstance(step.action, Bring) and step.action.how == "restart"


def list_restarts(own: Iterable[Step], stage: Stage) -> tuple[Service, ...]:
    """Return the services that the steps restart in a stage."""
    return tuple(
        step.action.service
        for step in own
        if isinstance(step.action, Bring) and is_restart(step) and step.stage == stage
    )


def leave_cleanup(_: DesiredHost, own: Iterable[Step]) -> tuple[Step, ...]:
    """The steps of a host that do not wait for the end of every process of a former version."""
    return tuple(step for step in own if step.stage < Stage.CLEANUP)


def take_cleanup(_: DesiredHost, own: Iterable[Step]) -> tuple[Step, ...]:
    """The steps of a host that wait for the end of every process of a former version, on all hosts."""
    return tuple(step for step in own if step.stage >= Stage.CLEANUP)


def add_restarts(desired: DesiredHost, own: Iterable[Step]) -> tuple[Step, ...]:
    """Return the steps of a host, with a restart of every process of Airflow that they would not restart."""
    steps = tuple(own)
    brought = {step.action.service.unit for step in steps if isinstance(step.action, Bring)}
    more = [
        Step(
            host=desired.place.host.name,
            stage=service.stage,
            action=Bring(service, "restart"),
            what=f"restart {service.unit}",
            why="requested with --restart",
            timeout_s=service.wait_s + 90,
        )
        for service in desired.services
        if service.command[0].startswith(str(desired.place.runtime)) and service.unit not in brought
    ]
    return tuple(sorted((*steps, *more), key=lambda step: step.stage))
