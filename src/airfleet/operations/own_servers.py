"""The state of servers that somebody else runs: for `airfleet doctor` and `airfleet status`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from airfleet.errors import AirfleetError
from airfleet.runners.fleet.survey import fleet_spec, own_servers
from airfleet.runners.fleet.survey.fleet_spec import FleetSpec
from airfleet.runners.fleet.survey.host_survey import HostView
from airfleet.runners.fleet.survey.outside_health import Aspect, HealthObservation
from airfleet.runners.fleet.transport.connection import HostConnection
from airfleet.spec.fleet import Fleet
from airfleet.workspace.diagnosis import Diagnosis


def diagnose(fleet: Fleet, project: Path, state: Path | None) -> Iterator[Diagnosis]:
    """Yield the findings about the servers that somebody else runs. They change nothing there."""
    if fleet.database is None and fleet.broker is None:
        return
    with ExitStack() as stack:
        connections = []
        for host in fleet.hosts:
            connection = HostConnection(host, project)
            stack.callback(connection.close)
            try:
                connection.open()
            except AirfleetError:  # the checks of the host say so
                continue
            connections.append(connection)
        try:
            spec = fleet_spec.read_spec(project, state)
            yield from own_servers.examine(spec.fleet, spec.credentials, connections)
        except AirfleetError as error:
            yield Diagnosis("error", "own servers", error.what, error.hint)


def look(spec: FleetSpec, views: Iterable[HostView]) -> Iterator[HealthObservation]:
    """Yield the health of each server that somebody else runs: all that is wrong with it in one line.

    Somebody may ask every few seconds, so it only reads.
    """
    if spec.fleet.database is None and spec.fleet.broker is None:
        return
    connections = [view.connection for view in views]
    found = tuple(own_servers.examine(spec.fleet, spec.credentials, connections, tries_queue=False))
    wrong = [one for one in found if one.level == "error"]
    named = {name: bool(source) for name, source in (("database", spec.fleet.database), ("broker", spec.fleet.broker))}
    for name in (name for name, is_outside in named.items() if is_outside):
        own = [one for one in wrong if one.subject not in named or one.subject == name]
        detail = "; ".join(f"{one.subject}: {one.what}" for one in own) or "answers; somebody else runs it"
        yield HealthObservation(name, not own, detail, Aspect.OUTSIDE)
