"""Rolling restarts: the balancers send requests to other hosts before a host restarts, and its health is awaited.

The change itself needs none of this. If a balancer does not answer, the change continues, and a message says so.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from airfleet.components.host_model import WORKER_USER, Service, Stage
from airfleet.components.hosts import haproxy, workers
from airfleet.components.postgresql import patroni
from airfleet.components.postgresql.own_server import ask_airflow
from airfleet.components.rabbitmq import server as rabbitmq
from airfleet.components.scheduler import NAME as SCHEDULER
from airfleet.errors import AirfleetError
from airfleet.runners.fleet.plan import systemd_units
from airfleet.runners.fleet.plan.steps import Step
from airfleet.runners.fleet.plan.waves import list_restarts
from airfleet.runners.fleet.survey.host_survey import HostView
from airfleet.runners.fleet.transport import database_cluster
from airfleet.runners.fleet.transport.connection import HostError
from airfleet.shell_script import read_program, render_script
from airfleet_provider.contract.lease_schema import CandidateState

ASIDE_S = 20
# Seconds after which the balancer's host sends requests to a host again by itself, if the apply has died.
FORGOTTEN_S = 300
BACK_S = 60
STANDBY_S = 120
# Seconds to wait until a restarted broker has caught up with the others.
COPIES_S = 180
# How long a database host may take to follow the primary after a restart, and to hand over to another before it.
REPLICA_S = 180
HAND_OVER_S = 60
# How a worker's note is read.
_LOOK = {"LOGIN": WORKER_USER, "NOTE_S": systemd_units.NOTE_S, "NOTE_BYTES": systemd_units.NOTE_BYTES}


class Rolling:
    """The actions on other hosts, such as balancers, before and after a host changes."""

    def __init__(
        self,
        views: Iterable[HostView],
        *,
        drain_s: float,
        notify: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._views = tuple(views)
        self._drain_s = drain_s
        self._notify = notify
        self._clock = clock
        self._sleep = sleep

    def find_active(self) -> str:
        """Return the host whose scheduler is active, or "" if there is one scheduler only or no answer."""
        found = self._ask_database(
            "SELECT seat.name FROM airfleet.seat, airfleet.lease"
            " WHERE lease.name = 'scheduler' AND seat.holder = lease.holder"
        )
        return found.strip()

    def must_go_together(self, work: Iterable[tuple[HostView, Sequence[Step]]]) -> bool:
        """Return whether all brokers must restart at once: nodes with different Erlang cookies cannot connect."""
        asked = [view for view, own in work if _restarts_broker(view, own)]

        def is_strange(view: HostView) -> bool:
            try:
                return self._ask_broker(view) == rabbitmq.STRANGE
            except AirfleetError:
                return False

        with ThreadPoolExecutor(max(1, len(asked))) as pool:
            return any(list(pool.map(is_strange, asked)))

    def prepare(self, view: HostView, own: Sequence[Step], stage: Stage) -> str:
        """Prepare the restart of a host: let balancers send requests to others, or wait until a broker may stop.

        Return a description of the processes before the restart, which `finish` needs.

        Raises:
            HostError: A broker must not stop, because another one is down.
        """
        name = view.desired.place.host.name
        if stage == Stage.STORES and _restarts_broker(view, own):
            self._await_copies(view)
        if stage == Stage.STORES and _restarts_database(view, own) and view.desired.place.fleet.promoted.is_led:
            self._hand_over(view)
        if stage == Stage.API and list_restarts(own, stage) and self._has_others(view):
            self._on_balancers(haproxy_aside, name, f"sending requests to other hosts than {name}")
        if stage == Stage.WORK:
            return self._look_at_workers(view, own, stage)
        return self._read_candidate(name) if stage == Stage.CONTROL and list_restarts(own, stage) else ""

    def finish(self, view: HostView, own: Sequence[Step], stage: Stage, before: str, *, is_last: bool) -> bool:
        """Wait until the host serves again, so that the next may restart. Return False if its tasks take too long.

        Raises:
            HostError: Its scheduler did not come back.
        """
        name = view.desired.place.host.name
        restarted = list_restarts(own, stage)
        if stage == Stage.STORES and not is_last and _restarts_database(view, own):
            self._await_replica(view)
        if stage == Stage.API and restarted and self._has_others(view):
            self._on_balancers(haproxy_back, name, f"sending requests to {name} again")
        if stage == Stage.CONTROL and any(service.name == SCHEDULER for service in restarted):
            self._await_candidate(name, before)
        return is_last or stage != Stage.WORK or self._await_workers(view, own, before)

    def _hand_over(self, view: HostView) -> None:
        """Let another database host take the writes of one that is about to restart."""
        name = view.desired.place.host.name
        done = view.connection.run(patroni.hand_over(view.desired.place), timeout_s=HAND_OVER_S + 60)
        if done.code == patroni.HANDED_OVER:
            self._notify(f"{name}: another database host has taken over from it")
        elif done.code:
            self._notify(f"{name}: no other database host can take over, so the database stops for the restart")

    def _await_replica(self, view: HostView) -> None:
        """Until the server of a database host follows the primary again; raises HostError when it does not."""
        name, end = view.desired.place.host.name, self._clock() + REPLICA_S
        while True:
            found = database_cluster.ask(view.connection)
            own = found.find(name) if found else None
            if found and found.leader and own and own.is_running and (own.is_leader or own.lag is not None):
                return
            if self._clock() >= end:
                raise HostError(
                    f"its PostgreSQL does not follow the primary after {REPLICA_S} s: the others are left as they are",
                    where=name,
                    hint="why, it says there: journalctl -u airfleet-postgresql",
                )
            self._sleep(1.0)

    def _await_copies(self, view: HostView) -> None:
        """Wait until every queue of a broker has enough copies on other nodes.

        Raises:
            HostError: Another broker is down.
        """
        name, end = view.desired.place.host.name, self._clock() + COPIES_S
        while self._ask_broker(view) == rabbitmq.NEEDED:
            if self._clock() >= end:
                if down := self._find_stopped_brokers(view):
                    raise HostError(
                        f"its RabbitMQ is not restarted: without it queues would stop, as {', '.join(down)} is down",
                        where=name,
                        hint="start the other broker, or remove its host from fleet.yaml; then apply again",
                    )
                self._notify(f"{name}: some queues have too few copies, and stop while its RabbitMQ restarts")
                return
            self._sleep(1.0)

    @staticmethod
    def _ask_broker(view: HostView) -> int:
        return view.connection.run(rabbitmq.ask_to_stop(view.desired.place), timeout_s=300).code

    def _find_stopped_brokers(self, view: HostView) -> list[str]:
        there = {one.desired.place.host.name: one for one in self._views}
        fleet = view.desired.place.fleet
        others = [host.name for host in fleet.with_role("broker") if host != view.desired.place.host]
        return [name for name in others if name not in there or not _is_active(there[name], rabbitmq.UNIT)]

    def _has_others(self, view: HostView) -> bool:
        return any("web" in one.desired.place.host.roles for one in self._views if one is not view)

    def _on_balancers(self, write: Callable[[str, str], str], host: str, what: str) -> None:
        asked = [one for one in self._views if {"balancer", "worker"} & set(one.desired.place.host.roles)]

        def ask(view: HostView) -> None:
            try:
                script = write(host, view.desired.place.machine.system.python)
                view.connection.check(script, timeout_s=ASIDE_S + BACK_S, what=what)
            except AirfleetError as error:
                self._notify(f"{error.where}: {error.what}; the change continues")

        with ThreadPoolExecutor(max(1, len(asked))) as pool:
            list(pool.map(ask, asked))

    def _ask_database(self, sql: str) -> str:
        for view in self._views:
            place = view.desired.place
            guarded = len(place.fleet.with_role("scheduler")) > 1 and place.fleet.scheduler_mode == "active-standby"
            if place.host == place.fleet.primary and guarded:
                try:
                    return view.connection.run(f"{ask_airflow(place)} -c {shlex.quote(sql)}", timeout_s=20).out
                except AirfleetError:
                    return ""
        return ""

    def _read_candidate(self, name: str) -> str:
        """Return the id of the ready scheduler agent on a host, or "". No other process ever has the same id."""
        return self._ask_database(
            f"SELECT holder FROM airfleet.seat WHERE name = '{name}' AND state <> '{CandidateState.WARMING}'"  # noqa: S608 - checked
            " AND seen_at > clock_timestamp() - interval '10 s'"
        ).strip()

    def _await_candidate(self, name: str, before: str) -> None:
        """Wait until a new scheduler agent on the host is ready.

        Raises:
            HostError: None is ready after STANDBY_S seconds.
        """
        end = self._clock() + STANDBY_S
        while before:
            now = self._read_candidate(name)
            if now and now != before:
                return
            if self._clock() >= end:
                raise HostError(
                    f"its scheduler did not come back within {STANDBY_S} s: the other schedulers are left as they are",
                    where=name,
                    hint=f"its log shows why: airfleet logs {SCHEDULER} --host {name}",
                )
            self._sleep(1.0)

    def _await_workers(self, view: HostView, own: Sequence[Step], before: str) -> bool:
        """Wait until each worker is a new process that reports that it takes tasks. Return False after the wait."""
        name, end, told = view.desired.place.host.name, self._clock() + self._drain_s, False
        while not is_back(before, now := self._look_at_workers(view, own, Stage.WORK)):
            if self._clock() >= end:
                return False
            if not told and "deactivating" in now:
                self._notify(f"{name}: waiting for running tasks; the other workers of its pools continue to work")
                told = True
            self._sleep(1.0)
        return True

    @staticmethod
    def _look_at_workers(view: HostView, own: Sequence[Step], stage: Stage) -> str:
        services = [service for service in list_restarts(own, stage) if service.drains]
        return view.connection.check(look_at(services), what="checking the workers") if services else ""


def _restarts_broker(view: HostView, own: Sequence[Step]) -> bool:
    """Return whether these steps restart one of several brokers."""
    is_one_of_several = len(view.desired.place.fleet.with_role("broker")) > 1
    return is_one_of_several and any(one.name == rabbitmq.NAME for one in list_restarts(own, Stage.STORES))


def _restarts_database(view: HostView, own: Sequence[Step]) -> bool:
    """Whether PostgreSQL of one of several database hosts is restarted by these steps."""
    is_one_of_several = patroni.is_wanted(view.desired.place.fleet)
    return is_one_of_several and any(one.name == patroni.UNIT_NAME for one in list_restarts(own, Stage.STORES))


def _is_active(view: HostView, unit: str) -> bool:
    try:
        return view.connection.run(f"systemctl is-active -q {unit}", timeout_s=20).code == 0
    except AirfleetError:
        return False


def look_at(services: Iterable[Service]) -> str:
    """Return a script that prints for each worker its invocation, its state, and `said` if it serves its queues."""
    lines = [f"{shlex.join(('look', service.unit, _find_note(service)))}\n" for service in services]
    return "".join([render_script(__package__, "worker_functions", **_LOOK), *lines])


def look_behind(services: Iterable[Service]) -> str:
    """Return a script that prints each worker that runs from an earlier unit or does not serve its queues yet."""
    lines = [
        f"{shlex.join(('tell_behind', service.name, service.unit, _find_note(service)))}\n" for service in services
    ]
    return "".join([render_script(__package__, "worker_functions", **_LOOK), *lines])


def _find_note(service: Service) -> str:
    return str(workers.find_note(service.name.removeprefix("worker-")))


def is_back(before: str, now: str) -> bool:
    """Return whether every worker is a new process and serves its queues."""
    was = {line.split()[0] for line in before.splitlines() if line.split()}
    lines = [line.split() for line in now.splitlines()]
    return all(len(words) == 3 and words[0] not in was and words[1:] == ["active", "said"] for words in lines)


def haproxy_aside(host: str, python: str) -> str:
    """Return a script for a balancer: it sends new requests to other hosts, and waits for the present ones."""
    return _ask_haproxy(
        "haproxy_aside",
        python,
        DRAIN=_set_state(host, "drain"),
        AGAIN=_ask_haproxy("haproxy_ready", python, READY=_set_state(host, "ready")),
        FOLDER="/run/airfleet",
        TIMER=f"airfleet-aside-{host}",
        FORGOTTEN_S=FORGOTTEN_S,
        BEHIND=host,
        TIMES=ASIDE_S * 5,
    )


def haproxy_back(host: str, python: str) -> str:
    """Return a script for a balancer: it sends requests to the host again, and waits until the host is healthy."""
    return _ask_haproxy(
        "haproxy_back",
        python,
        READY=_set_state(host, "ready"),
        TIMER=f"airfleet-aside-{host}",
        BEHIND=host,
        TIMES=BACK_S * 5,
    )


def _ask_haproxy(name: str, python: str, **values: object) -> str:
    talk = read_program(__package__, "haproxy_talk")
    return render_script(
        __package__, "haproxy_functions", name, PYTHON=python, TALK=talk, SOCKETS=haproxy.SOCKETS, **values
    )


def _set_state(host: str, state: str) -> str:
    return "; ".join(f"set server {backend}/{host} state {state}" for backend in haproxy.BACKENDS)
