"""Hosts that fleet.yaml no longer names: stop their services, and delete their configuration and secrets.

Their data, their logs and the system's packages remain. The services of those packages remain masked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace

from airfleet.components.host_model import LIB, LOG, OPT, Place, Stage
from airfleet.errors import AirfleetError
from airfleet.runners.fleet.apply.applier import Applier, ApplyOutcome
from airfleet.runners.fleet.packaging import airflow_archive
from airfleet.runners.fleet.plan import diff, facts
from airfleet.runners.fleet.plan.diff import DesiredHost
from airfleet.runners.fleet.plan.facts import HostFacts
from airfleet.runners.fleet.plan.steps import WORKER, RemoveRuntime, RemoveService, Step
from airfleet.runners.fleet.survey import host_survey
from airfleet.runners.fleet.survey.fleet_spec import FleetSpec
from airfleet.runners.fleet.survey.host_survey import HostView
from airfleet.runners.fleet.transport.connection import HostConnection, as_host_error
from airfleet.spec.topology import Host

LEFT = f"{LIB}, {LOG} and the system's packages are left there"
WHY = "fleet.yaml no longer names this host"


@dataclass(frozen=True, slots=True)
class RemovedHosts:
    """The removed hosts: those with something to stop or delete, and the errors of those that do not answer."""

    views: tuple[HostView, ...] = ()
    silent: tuple[AirfleetError, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(step for view in self.views for step in view.steps)

    @property
    def draining(self) -> tuple[Host, ...]:
        """Return the hosts whose workers still run. Their tasks need access to the fleet until they have ended."""
        return tuple(view.desired.place.host for view in self.views if _works(view.facts))


def look(spec: FleetSpec, hosts: Iterable[Host], stack: ExitStack) -> RemovedHosts:
    """Survey the removed hosts."""
    listed = tuple(hosts)
    if not listed:
        return RemovedHosts()
    views: list[HostView] = []
    silent: list[AirfleetError] = []
    with ThreadPoolExecutor(len(listed)) as pool:
        futures = [(host, pool.submit(_look, spec, host, stack)) for host in listed]
    for host, future in futures:
        try:
            view = future.result()
        except Exception as error:  # an unexpected error of one host must not end the work on others
            silent.append(as_host_error(error, host.name))
        else:
            views += [view] if view is not None and view.steps else []
    return RemovedHosts(tuple(views), tuple(silent))


def _look(spec: FleetSpec, host: Host, stack: ExitStack) -> HostView | None:
    connection = HostConnection(host, spec.project)
    stack.callback(connection.close)
    connection.open()
    probe = facts.parse_probe(connection.check(facts.build_probe(host.address), what="surveying the host"))
    if probe.owner != spec.credentials.identity:
        return None
    # A host without a role needs nothing, so every part of airfleet on it is removed.
    nobody = replace(host, roles=("worker",) if "worker" in host.roles else (), pools=())
    machine = host_survey.identify(host, probe)
    desired = DesiredHost(Place(spec.fleet, nobody, machine, OPT / "none", spec.credentials, spec.objects), ())
    question = facts.build_question((), (), (), ())
    found = facts.parse_answer(connection.check(question, what="surveying the host"), frozenset())
    recipe = airflow_archive.Recipe("", "", "", "", ())
    return HostView(connection, desired, found, tuple(decide(desired, found)), recipe)


def decide(desired: DesiredHost, found: HostFacts) -> Iterator[Step]:
    """Yield the steps that remove airfleet from a host. Workers come first, because they may have to drain."""
    stripped = replace(desired, place=replace(desired.place, host=replace(desired.place.host, roles=())))
    steps = [
        replace(step, stage=Stage.CLEANUP if step.stage == Stage.CLEANUP else Stage.BASE, why=WHY)
        for step in diff.decide(stripped, found)
    ]
    yield from (step for step in steps if _stops_worker(step))
    yield from (step for step in steps if not _stops_worker(step))
    for name in found.runtimes:
        yield Step(desired.place.host.name, Stage.BASE, RemoveRuntime(name), f"remove {OPT / name}", WHY)


def change_steps(
    views: Iterable[HostView], change: Callable[[DesiredHost, tuple[Step, ...]], tuple[Step, ...]]
) -> tuple[HostView, ...]:
    """Return the hosts that still have steps after a change of the steps of each."""
    changed = (replace(view, steps=change(view.desired, view.steps)) for view in views)
    return tuple(view for view in changed if view.steps)


def drain_and_clear(views: Iterable[HostView], make: Callable[[Iterable[HostView]], Applier]) -> ApplyOutcome:
    """Stop the workers. Clear the hosts whose workers have stopped; a later apply clears the others."""
    listed = tuple(views)
    first = make(replace(view, steps=tuple(filter(_stops_worker, view.steps))) for view in listed).run()
    busy = {result.step.host for result in first.done if result.drains or result.error}
    rest = [
        replace(view, steps=tuple(step for step in view.steps if not _stops_worker(step)))
        for view in listed
        if view.desired.place.host.name not in busy
    ]
    second = make(rest).run()
    return ApplyOutcome(first.done + second.done, first.errors + second.errors, first.skipped + second.skipped)


def _stops_worker(step: Step) -> bool:
    return isinstance(step.action, RemoveService) and step.action.unit.startswith(WORKER)


def _works(found: HostFacts) -> bool:
    return any(unit.startswith(WORKER) and fact.active == "deactivating" for unit, fact in found.units.items())


def explain_silent(error: AirfleetError) -> str:
    """Describe a removed host that does not answer, with a hint."""
    return (
        f"{error.where}: removed from fleet.yaml, but it cannot be stopped: {error.what}\n"
        f"  hint: its services run on, shut out by the others' firewalls; airfleet apply --forget {error.where}"
    )


def find_left(known: Iterable[Host], removed: RemovedHosts) -> tuple[Host, ...]:
    """Return the removed hosts that the next apply must survey again."""
    names = {view.desired.place.host.name for view in removed.views} | {error.where for error in removed.silent}
    return tuple(host for host in known if host.name in names)
