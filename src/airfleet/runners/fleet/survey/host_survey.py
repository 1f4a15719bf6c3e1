"""Survey all hosts: the facts of each, its desired state, and the steps between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace

from airfleet.components.host_model import ETC, OPT, HostFile, HostMachine, Part, Place
from airfleet.components.hosts import host_parts
from airfleet.components.hosts.systems import ARCHITECTURES, SYSTEMS, explain
from airfleet.errors import AirfleetError
from airfleet.runners.fleet.packaging import airflow_archive
from airfleet.runners.fleet.plan import diff, facts, ways_in
from airfleet.runners.fleet.plan.diff import DesiredHost
from airfleet.runners.fleet.plan.facts import HostFacts, MachineFacts
from airfleet.runners.fleet.plan.steps import Step
from airfleet.runners.fleet.survey.fleet_spec import FleetSpec
from airfleet.runners.fleet.transport.connection import HostConnection, HostError, as_host_error
from airfleet.spec.topology import Host
from airfleet.workspace import airflow_version

MOST_AT_ONCE = 32
OWNER, AIRFLOW = ETC / "owner", ETC / "airflow"


@dataclass(frozen=True, slots=True)
class HostView:
    """One host that answered: its connection, its desired state, its facts, and the steps between."""

    connection: HostConnection
    desired: DesiredHost
    facts: HostFacts
    steps: tuple[Step, ...]
    recipe: airflow_archive.Recipe
    lease: str = ""
    patroni: airflow_archive.Recipe | None = None
    logs: airflow_archive.Recipe | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """All hosts: the views of those that can be changed, and the errors of the others."""

    views: tuple[HostView, ...]
    errors: tuple[AirfleetError, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(step for view in self.views for step in view.steps)

    def find_all(self, hosts: Iterable[Host]) -> tuple[HostView, ...]:
        """Return the views of those of the hosts that can be worked on."""
        return tuple(view for host in hosts if (view := self.find(host.name)))

    def find(self, name: str) -> HostView | None:
        """Return the view of a host, or None if it cannot be changed."""
        return next((view for view in self.views if view.desired.place.host.name == name), None)


def survey(spec: FleetSpec, stack: ExitStack, tell: Callable[[str], None]) -> Survey:
    """Survey all hosts in parallel. The connections stay open as long as the stack."""
    views: list[HostView] = []
    errors: list[AirfleetError] = []

    def look(host: Host) -> HostView:
        connection = HostConnection(host, spec.project, welcome=tell if spec.accept_new_hosts else None)
        stack.callback(connection.close)
        return inspect(spec, connection)

    with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
        futures = [(host, pool.submit(look, host)) for host in spec.fleet.hosts]
        for host, future in futures:
            try:
                views.append(future.result())
            except Exception as error:  # an unexpected error of one host must not end the work on others
                errors.append(as_host_error(error, host.name))
                tell(f"{host.name}: left out")
    return Survey(tuple(views), tuple(errors))


def change_steps(survey: Survey, change: Callable[[DesiredHost, tuple[Step, ...]], tuple[Step, ...]]) -> Survey:
    """Return the survey with other steps for each host."""
    views = (replace(view, steps=change(view.desired, view.steps)) for view in survey.views)
    return Survey(tuple(views), survey.errors)


def inspect(spec: FleetSpec, connection: HostConnection) -> HostView:
    """Survey one host in two round trips.

    Raises:
        HostError: The host does not answer, is not supported, belongs to another fleet, or has an obstacle.
    """
    host = connection.host
    connection.open()
    asked = time.time()
    probe = facts.parse_probe(connection.check(facts.build_probe(host.address), what="surveying the host"))
    wrong_clock = diff.find_wrong_clock(host.name, probe.clock, asked=asked, answered=time.time())
    machine = identify(host, probe)
    owner = spec.credentials.identity
    if probe.owner not in ("", owner):
        raise HostError(
            "this host belongs to a fleet with other secrets",
            where=host.name,
            hint="apply from the control machine that set it up, or copy its .airfleet/secrets here",
        )
    if probe.airflow not in ("", spec.airflow, spec.beside):
        raise HostError(
            f"it was moved to Airflow {probe.airflow} by another control machine, and would go back to {spec.airflow}",
            where=host.name,
            hint=f"copy .airfleet/{airflow_version.NAME} from there",
        )
    recipe = read_recipe(spec, machine)
    patroni = airflow_archive.read_patroni(python=machine.system.python, arch=machine.arch)
    logs = airflow_archive.read_logs(python=machine.system.python, arch=machine.arch)
    objects = replace(spec.objects, versions=recipe.versions)
    fleet = replace(spec.fleet, hosts=spec.fleet.hosts + spec.leaving)
    place = Place(
        *(fleet, host, machine, OPT / recipe.digest, spec.credentials, objects),
        patroni=OPT / patroni.digest,
        logs=OPT / logs.digest,
    )
    own = Part("owner", files=(HostFile(OWNER, f"{owner}\n"), HostFile(AIRFLOW, f"{spec.airflow}\n")))
    # The firewall always keeps the port of this connection open, even if the server's configuration cannot be read.
    ports = (*probe.ssh_ports, *((connection.ssh_port,) if connection.ssh_port else ())) or (host.ssh.port or 22,)
    parts = (*host_parts.describe(place, ssh_ports=ports), own)
    desired = DesiredHost(place, parts)
    question = facts.build_question((*desired.early, *desired.files), desired.folders, desired.users, desired.masks)
    answer = facts.parse_answer(connection.check(question, what="surveying the host"), probe.packages)
    shut = ways_in.find_obstacles(place, probe, connection.client)
    for obstacle in (*wrong_clock, *shut, *diff.find_obstacles(desired, probe, answer)):
        raise HostError(obstacle.what, where=host.name, hint=obstacle.hint)
    return HostView(connection, desired, answer, diff.decide(desired, answer), recipe, probe.lease, patroni, logs)


def read_recipe(spec: FleetSpec, machine: HostMachine) -> airflow_archive.Recipe:
    """Return the recipe of Airflow's packages for a machine."""
    return airflow_archive.read_recipe(
        spec.project,
        spec.fleet.requirements,
        airflow=spec.airflow,
        python=machine.system.python,
        arch=machine.arch,
    )


def identify(host: Host, probe: MachineFacts) -> HostMachine:
    """Return the machine behind a host.

    Raises:
        HostError: airfleet does not support its system, its architecture, or its init.
    """
    system = SYSTEMS.get(probe.os)
    if system is None:
        what, hint = explain(*probe.os)
        raise HostError(what, where=host.name, hint=hint)
    if probe.arch not in ARCHITECTURES:
        hint = f"use one of {', '.join(sorted(ARCHITECTURES))}"
        raise HostError(f"the architecture {probe.arch} is not supported", where=host.name, hint=hint)
    if probe.init != "systemd":
        hint = "boot it with systemd; a container without systemd cannot be a host"
        raise HostError(
            f"it runs {probe.init or 'something'} as its first process, not systemd", where=host.name, hint=hint
        )
    return HostMachine(system, probe.arch, probe.memory, probe.cpus, probe.addresses, probe.named, probe.links)


def describe_errors(errors: Iterable[AirfleetError]) -> str:
    """Return a line for each error, and a line for its hint."""
    lines = []
    for error in errors:
        lines.append(f"{error.where}: {error.what}")
        if error.hint:
            lines.append(f"  hint: {error.hint}")
    return "\n".join(lines)
