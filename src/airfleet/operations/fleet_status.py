"""The status of every host of a fleet, its problems, and what to do about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import assert_never

from airfleet.components.etcd.server import SCOPE
from airfleet.components.postgresql import patroni
from airfleet.components.postgresql.backups import NAME as BACKUP
from airfleet.components.postgresql.own_server import ask_airflow
from airfleet.errors import AirfleetError
from airfleet.operations import fallbacks, own_servers
from airfleet.operations.backup.pgbackrest import repository
from airfleet.operations.database import rules
from airfleet.operations.fallbacks import Course
from airfleet.operations.upgrade import schema
from airfleet.operations.upgrade.schema import Revision
from airfleet.runners.fleet.diagnosis import SET_UP_HINT
from airfleet.runners.fleet.survey import fleet_spec, host_survey, outside_health
from airfleet.runners.fleet.survey.host_survey import HostView
from airfleet.runners.fleet.survey.outside_health import Aspect, HealthObservation
from airfleet.runners.fleet.transport import database_cluster
from airfleet.spec.fleet import Fleet
from airfleet.spec.topology import Host
from airfleet.workspace import airflow_version
from airfleet.workspace.airflow_version import Running
from airfleet.workspace.project import find_state

DATABASE = "database"
COPY_AGAIN = (
    f"if it lacks too much, this on the host copies the primary again: sudo {patroni.CONTROL} reinit {SCOPE} NAME"
)
METADATA = "metadata"  # the job that creates the schema
AIRFLOW, SCHEMA = "Airflow", "schema of the metadata database"


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One service of one host."""

    host: str
    service: str
    state: str
    what: str
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class HostStatus:
    """One host. `state` is up, degraded (a service does not run) or down (the host does not answer).

    `changes` is the number of steps that an apply would make.
    """

    host: str
    address: str
    roles: str
    state: str
    running: int
    services: int
    changes: int


@dataclass(frozen=True, slots=True)
class HostProblem:
    """One problem: its place, its description, and a hint."""

    where: str
    what: str
    hint: str


@dataclass(frozen=True, slots=True)
class FleetReport:
    """The status of a whole fleet."""

    fleet: str
    hosts: tuple[HostStatus, ...]
    services: tuple[ServiceStatus, ...]
    health: tuple[HealthObservation, ...]
    problems: tuple[HostProblem, ...]
    courses: tuple[Course, ...] = ()

    @property
    def changes(self) -> int:
        return sum(host.changes for host in self.hosts)


def look(project: Path, state: Path | None) -> FleetReport:
    """Survey every host, and check the fleet from outside. It changes nothing.

    Raises:
        AirfleetError: fleet.yaml cannot be read. Errors of hosts are in the report.
    """
    with ExitStack() as stack:
        spec = fleet_spec.read_spec(project, state)
        survey = host_survey.survey(spec, stack, lambda _: None)
        running = airflow_version.read(find_state(spec.project, state))
        with ThreadPoolExecutor(1) as beside:
            schema_seen = beside.submit(lambda: tuple(_look_at_schema(spec.fleet, survey.views)))
            outside = outside_health.look(spec.fleet, survey.views)
        seen = (
            judge_version(running),
            *schema_seen.result(),
            *outside,
            *_look_at_backups(spec.fleet, survey.views),
            *_look_at_databases(spec.fleet, survey.views),
            *own_servers.look(spec, survey.views),
        )
        courses = fallbacks.look(survey.views)
    return replace(build(spec.fleet, survey.views, survey.errors, seen), courses=courses)


def judge_version(running: Running) -> HealthObservation:
    """Report the version of Airflow. A fleet between two versions is not healthy."""
    if running.target:
        return HealthObservation(AIRFLOW, False, f"moving from {running.version} to {running.target}", Aspect.VERSION)
    return HealthObservation(AIRFLOW, True, running.version, Aspect.VERSION)


def _look_at_schema(fleet: Fleet, views: Iterable[HostView]) -> Iterator[HealthObservation]:
    """Report whether Airflow's tables exist and match its version. Yield nothing before their first creation."""
    by_name = {one.desired.place.host.name: one for one in views}
    primary, keeper = by_name.get(fleet.primary.name), by_name.get(fleet.with_role("scheduler")[0].name)
    if primary is None or keeper is None or METADATA not in keeper.facts.jobs:
        return
    ask = ask_airflow(primary.desired.place)
    try:
        missing = primary.connection.check(schema.ask_missing(ask), what="checking the tables").split()
        current = frozenset[Revision]() if missing else _ask(primary, schema.ask_current(ask))
        wanted = frozenset[Revision]() if missing else _ask(keeper, schema.ask_wanted(keeper.desired.place.runtime))
    except AirfleetError as error:
        yield HealthObservation(SCHEMA, False, error.what, Aspect.SCHEMA)
    else:
        wrong = schema.explain(missing, current, wanted)
        yield HealthObservation(SCHEMA, not wrong, wrong or "matches Airflow's version", Aspect.SCHEMA)


def _ask(one: HostView, script: str) -> frozenset[Revision]:
    return schema.parse(one.connection.check(script, what="checking the schema"))


def _look_at_backups(fleet: Fleet, views: Iterable[HostView]) -> Iterator[HealthObservation]:
    """Report the backups and the archive. Yield nothing if the primary is not set up."""
    for one in views:
        if one.desired.place.host != fleet.primary or f"airfleet-{BACKUP}.service" not in one.facts.units:
            continue
        try:
            found = repository.look(one.connection, fleet.primary.name, fleet.backups)
        except AirfleetError as error:
            yield HealthObservation("backups", False, error.what, Aspect.BACKUP)
        else:
            yield from (HealthObservation(*said, Aspect.BACKUP) for said in repository.judge(found, fleet.backups))


def _look_at_databases(fleet: Fleet, views: Iterable[HostView]) -> Iterator[HealthObservation]:
    """Report how Patroni sees each of several database hosts. Yield nothing before they are set up."""
    unit = "airfleet-postgresql.service"
    own = [one for one in views if "database" in one.desired.place.host.roles and unit in one.facts.units]
    if not patroni.is_wanted(fleet) or not own:
        return
    found = database_cluster.look(one.connection for one in own)
    if found is None:
        name = fleet.primary.name
        yield HealthObservation(
            f"{DATABASE} {name}", False, "Patroni answers on no database host", Aspect.DATABASE, name
        )
        return
    names = tuple(host.name for host in fleet.with_role("database"))
    for name, is_well, detail in rules.judge(found, names, synchronous=fleet.replication == "synchronous"):
        yield HealthObservation(f"{DATABASE} {name}", is_well, detail, Aspect.DATABASE, name)


def build(
    fleet: Fleet, views: Iterable[HostView], errors: Iterable[AirfleetError], seen: tuple[HealthObservation, ...]
) -> FleetReport:
    """Build the report from the hosts that answered, the errors of the others, and the observations."""
    by_name = {one.desired.place.host.name: one for one in views}
    services = tuple(status for one in by_name.values() for status in _list_services(one))
    hosts = tuple(_sum_up(host, by_name.get(host.name), services) for host in fleet.hosts)
    problems = (*_list_host_problems(errors), *_list_service_problems(services), *_list_outside(fleet, hosts, seen))
    return FleetReport(fleet.name, hosts, services, seen, problems)


def _list_services(one: HostView) -> Iterator[ServiceStatus]:
    host, known = one.desired.place.host.name, one.facts.units
    for service in one.desired.services:
        fact = known.get(service.unit)
        if fact is None:
            yield ServiceStatus(host, service.name, "missing", service.what)
        else:
            yield ServiceStatus(host, service.name, fact.active, service.what, fact.restarts)


def _sum_up(host: Host, one: HostView | None, services: tuple[ServiceStatus, ...]) -> HostStatus:
    own = [status for status in services if status.host == host.name]
    running = sum(status.state == "active" for status in own)
    state = "down" if one is None else "up" if running == len(own) else "degraded"
    roles: list[str] = [role for role in host.roles if role != "worker"]
    roles += [f"worker ({', '.join(host.pools)})"] if host.pools else []
    return HostStatus(host.name, host.address, ", ".join(roles), state, running, len(own), len(one.steps) if one else 0)


def _list_host_problems(errors: Iterable[AirfleetError]) -> Iterator[HostProblem]:
    for error in errors:
        yield HostProblem(error.where, error.what, error.hint)


def _list_service_problems(services: Iterable[ServiceStatus]) -> Iterator[HostProblem]:
    missing: dict[str, list[str]] = {}
    for one in services:
        log, name = f"airfleet logs {one.service} --host {one.host}", one.service
        if one.what != name and one.service.startswith("worker-"):
            name = f"{one.service} ({one.what})"
        if one.state == "missing":
            missing.setdefault(one.host, []).append(one.service)
        elif one.state == "deactivating":
            yield HostProblem(one.host, f"{name} stops when its tasks have ended", "wait, or check its tasks")
        elif one.state != "active" and one.restarts:
            what = f"{name} keeps ending: {one.restarts} restarts, now {one.state}"
            yield HostProblem(one.host, what, f"its log shows why: {log}")
        elif one.state != "active":
            hint = f"`airfleet apply` starts it; its log shows why it ended: {log}"
            yield HostProblem(one.host, f"{name} is not running: it is {one.state}", hint)
    for host, names in missing.items():
        yield HostProblem(host, f"not set up yet: {', '.join(names)}", SET_UP_HINT)


def _list_outside(
    fleet: Fleet, hosts: Iterable[HostStatus], seen: Iterable[HealthObservation]
) -> Iterator[HostProblem]:
    down = {host.host for host in hosts if host.state == "down"}
    for one in seen:
        if one.is_well:
            continue
        said = f"{one.what}: {one.detail}"
        match one.aspect:
            case Aspect.QUEUE:
                yield _judge_queue(fleet, one.subject, down)
            case Aspect.BACKUP:
                host = fleet.primary.name
                hint = f"its log shows why: airfleet logs {BACKUP} --host {host}; or that of postgresql"
                yield HostProblem(host, said, hint)
            case Aspect.DATABASE:
                again = COPY_AGAIN.replace("NAME", one.subject)
                hint = f"its log shows why: airfleet logs postgresql --host {one.subject}; {again}"
                yield HostProblem(one.subject, f"{DATABASE}: {one.detail}", hint)
            case Aspect.SCHEMA:
                hint = "`airfleet db restore` restores tables; "
                hint += "for a schema of another version, continue with `airfleet upgrade`"
                yield HostProblem(fleet.primary.name, said, hint)
            case Aspect.VERSION:
                yield HostProblem("fleet", said, airflow_version.GO_ON)
            case Aspect.ADDRESS:
                hint = (
                    "its log shows why: airfleet logs keepalived --host HOST, on each balancer; VRRP is IP protocol 112"
                )
                yield HostProblem("fleet", said, hint)
            case Aspect.OUTSIDE:
                yield HostProblem("fleet", said, "`airfleet doctor` says what its owner can do")
            case Aspect.UI | Aspect.BROKER:
                yield HostProblem("fleet", said, "check the hosts above first")
            case _ as never:
                assert_never(never)


def _judge_queue(fleet: Fleet, queue: str, down: set[str]) -> HostProblem:
    """Explain a queue without workers: its pools, and the worker or broker hosts that are the likely reason."""
    pools = [pool.name for pool in fleet.pools if queue in pool.queues]
    servers = [host.name for host in fleet.hosts if set(pools) & set(host.pools)]
    brokers = [host.name for host in fleet.with_role("broker") if host.name in down]
    if all(name in down for name in servers):
        hint = f"bring {', '.join(servers)} back, or give the pool another host"
    elif brokers:
        hint = f"RabbitMQ of {', '.join(brokers)} is down; workers use another within 20 s: check again then"
    else:
        logs = "; ".join(f"airfleet logs worker-{name}" for name in pools)
        up = ", ".join(name for name in servers if name not in down)
        hint = f"`airfleet workers list` shows whether {up} is drained; its log shows more: {logs}"
    what = f"no worker serves the queue {queue} of the pool {', '.join(pools)}: its tasks wait"
    return HostProblem("fleet", what, hint)
