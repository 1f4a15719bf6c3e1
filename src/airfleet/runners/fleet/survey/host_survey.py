"""From fleet.yaml and the hosts themselves to what each host is, should be and needs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from airfleet.components.host_model import ETC, OPT, FleetCredentials, HostFile, Machine, Objects, Part, Place
from airfleet.components.hosts import haproxy, host_parts
from airfleet.components.hosts.systems import ARCHITECTURES, SYSTEMS, explain
from airfleet.errors import AirfleetError
from airfleet.runners.fleet.packaging import airflow_archive
from airfleet.runners.fleet.plan import diff, facts
from airfleet.runners.fleet.plan.diff import Desired
from airfleet.runners.fleet.plan.facts import Facts, Probe
from airfleet.runners.fleet.plan.steps import Step
from airfleet.runners.fleet.transport.connection import Connection, HostError, as_host_error
from airfleet.spec.fleet import Fleet, SecretRef
from airfleet.spec.secrets import Secret, resolve
from airfleet.spec.topology import Host
from airfleet.workspace import airflow_version, credentials, primary_record
from airfleet.workspace.project import find_project, find_state, read_fleet, resolve_connection, resolve_value
from airfleet.workspace.rotation import RotationLedger
from airfleet.workspace.state_folder import StateFolder

MOST_AT_ONCE = 32
OWNER, AIRFLOW = ETC / "owner", ETC / "airflow"


@dataclass(frozen=True, slots=True)
class Wish:
    """One fleet as its file says, its secrets resolved; `leaving` are hosts whose workers still drain.

    `airflow` is the version that all hosts shall run; while the fleet moves, some may still run the one `beside` it.
    A host whose key is not known is left out, unless new hosts are accepted. `rotations` is how far the rotations of the
    credentials have come.
    """

    fleet: Fleet
    project: Path
    credentials: FleetCredentials
    objects: Objects
    rotations: RotationLedger
    airflow: str
    beside: str = ""
    leaving: tuple[Host, ...] = ()
    accept_new_hosts: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """One host that answered: the connection, what it should be, how it stands, and the steps between."""

    connection: Connection
    desired: Desired
    facts: Facts
    steps: tuple[Step, ...]
    recipe: airflow_archive.Recipe
    lease: str = ""


@dataclass(frozen=True, slots=True)
class Survey:
    """All hosts: those that can be worked on, and why the others cannot."""

    views: tuple[View, ...]
    errors: tuple[AirfleetError, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(step for view in self.views for step in view.steps)


def open_folder(project: Path, state: Path | None) -> StateFolder:
    """The state folder of a fleet, made if there is none; raises AirfleetError where fleet.yaml names no hosts."""
    project = find_project(project)
    if not read_fleet(project).hosts:
        hint = "name them under `hosts`; for this machine alone there is `airfleet up`"
        raise AirfleetError("fleet.yaml names no hosts", where=str(project), hint=hint)
    folder = find_state(project, state)
    folder.create()
    return folder


def read_wish(project: Path, state: Path | None, *, accept_new_hosts: bool = False) -> Wish:
    """What fleet.yaml says of a fleet; raises UsageError, and AirfleetError where it names no hosts.

    Whoever changes hosts reads it while nobody else may: another command may promote a host, or rotate a secret.
    """
    folder = open_folder(project, state)
    project = find_project(project)
    fleet = read_fleet(project)
    running = airflow_version.read(folder)
    rotations = RotationLedger(folder.secrets)
    environ = os.environ

    def value(thing: object) -> object:
        return resolve_value(thing, project)

    tls = None
    if fleet.tls:
        certificate = resolve_file(project, fleet.tls.certificate)
        key = resolve(SecretRef(file=fleet.tls.key), environ=environ, project=project, where="fleet.yaml: tls.key")
        tls = haproxy.join_tls(certificate, key)
    return Wish(
        fleet=primary_record.apply_to(fleet, folder),
        project=project,
        credentials=credentials.read(folder, rotations, fleet.databases, [pool.name for pool in fleet.pools]),
        objects=Objects(
            connections={key: resolve_connection(one, project) for key, one in fleet.connections.items()},
            variables={key: value(one) for key, one in fleet.variables.items()},
            environment={
                key: Secret(str(value(one))) if isinstance(one, SecretRef) else one for key, one in fleet.env.items()
            },
            versions="",
            tls=tls,
        ),
        rotations=rotations,
        airflow=running.version,
        beside=running.target,
        accept_new_hosts=accept_new_hosts,
    )


def resolve_file(project: Path, name: str) -> str:
    """The text of a file of the project that is no secret."""
    try:
        return (project / Path(name).expanduser()).read_text()
    except OSError as error:
        hint = "`tls.certificate` in fleet.yaml names it"
        raise AirfleetError(
            f"the file {name} cannot be read: {error.strerror}", where=str(project), hint=hint
        ) from None


def survey(wish: Wish, stack: ExitStack, tell: Callable[[str], None]) -> Survey:
    """Look at every host at once; the connections stay open as long as the stack."""
    views: list[View] = []
    errors: list[AirfleetError] = []

    def look(host: Host) -> View:
        connection = Connection(host, wish.project, welcome=tell if wish.accept_new_hosts else None)
        stack.callback(connection.close)
        return inspect(wish, connection)

    with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
        futures = [(host, pool.submit(look, host)) for host in wish.fleet.hosts]
        for host, future in futures:
            try:
                views.append(future.result())
            except Exception as error:  # what nobody thought of on one host must not end the work on the others
                errors.append(as_host_error(error, host.name))
                tell(f"{host.name}: left out")
    return Survey(tuple(views), tuple(errors))


def change_steps(survey: Survey, change: Callable[[Desired, tuple[Step, ...]], tuple[Step, ...]]) -> Survey:
    """The same hosts with other steps."""
    views = (replace(view, steps=change(view.desired, view.steps)) for view in survey.views)
    return Survey(tuple(views), survey.errors)


def inspect(wish: Wish, connection: Connection) -> View:
    """One host, in two round trips; raises HostError for what makes work on it impossible."""
    host = connection.host
    connection.open()
    asked = time.time()
    probe = facts.parse_probe(connection.check(facts.build_probe(host.address), what="looking at the host"))
    wrong_clock = diff.find_wrong_clock(host.name, probe.clock, asked=asked, answered=time.time())
    machine = identify(host, probe)
    owner = wish.credentials.identity
    if probe.owner not in ("", owner):
        raise HostError(
            "this host belongs to a fleet with other secrets",
            where=host.name,
            hint="apply from the control machine that set it up, or copy its .airfleet/secrets here",
        )
    if probe.airflow not in ("", wish.airflow, wish.beside):
        raise HostError(
            f"it was moved to Airflow {probe.airflow} by another control machine, and would go back to {wish.airflow}",
            where=host.name,
            hint=f"copy .airfleet/{airflow_version.NAME} from there",
        )
    recipe = read_recipe(wish, machine)
    objects = Objects(
        wish.objects.connections, wish.objects.variables, wish.objects.environment, recipe.versions, wish.objects.tls
    )
    fleet = replace(wish.fleet, hosts=wish.fleet.hosts + wish.leaving)
    place = Place(fleet, host, machine, OPT / recipe.digest, wish.credentials, objects)
    own = Part("owner", files=(HostFile(OWNER, f"{owner}\n"), HostFile(AIRFLOW, f"{wish.airflow}\n")))
    # The port that this very connection came in by stays open, whatever can be read of the server's configuration.
    ports = (*probe.ssh_ports, *((connection.ssh_port,) if connection.ssh_port else ())) or (host.ssh.port or 22,)
    parts = (*host_parts.describe(place, ssh_ports=ports), own)
    desired = Desired(place, parts)
    question = facts.build_question((*desired.early, *desired.files), desired.folders, desired.users, desired.masks)
    answer = facts.parse_answer(connection.check(question, what="looking at the host"), probe.packages)
    for obstacle in (*wrong_clock, *diff.find_obstacles(desired, probe, answer)):
        raise HostError(obstacle.what, where=host.name, hint=obstacle.hint)
    return View(connection, desired, answer, diff.decide(desired, answer), recipe, probe.lease)


def read_recipe(wish: Wish, machine: Machine) -> airflow_archive.Recipe:
    """What goes into the packages of Airflow for a machine."""
    return airflow_archive.read_recipe(
        wish.project,
        wish.fleet.requirements,
        airflow=wish.airflow,
        python=machine.system.python,
        arch=machine.arch,
    )


def identify(host: Host, probe: Probe) -> Machine:
    """What airfleet has to know of the machine; raises HostError where it knows nothing of its system."""
    system = SYSTEMS.get(probe.os)
    if system is None:
        what, hint = explain(*probe.os)
        raise HostError(what, where=host.name, hint=hint)
    if probe.arch not in ARCHITECTURES:
        hint = f"use one of {', '.join(sorted(ARCHITECTURES))}"
        raise HostError(f"the architecture {probe.arch} is not supported", where=host.name, hint=hint)
    if probe.init != "systemd":
        hint = "boot it with systemd; a container without it is no host"
        raise HostError(
            f"it runs {probe.init or 'something'} as its first process, not systemd", where=host.name, hint=hint
        )
    return Machine(system, probe.arch, probe.memory, probe.cpus, probe.addresses, probe.named)


def describe_errors(errors: Iterable[AirfleetError]) -> str:
    """Each host's error as one line with its hint."""
    lines = []
    for error in errors:
        lines.append(f"{error.where}: {error.what}")
        if error.hint:
            lines.append(f"  hint: {error.hint}")
    return "\n".join(lines)
