"""When a silent task is called dead, and what an outage looks like."""

from __future__ import annotations

import contextlib
import inspect
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from airflow.exceptions import AirflowException
from airflow.executors.base_executor import get_execution_api_server_url
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.providers.celery.executors import celery_executor
from airflow.providers.celery.executors.celery_executor_utils import ExceptionWithTraceback, send_workload_to_executor
from airflow.sdk.exceptions import AirflowTaskTimeout
from amqp.exceptions import AccessRefused, InternalError, MessageNacked, NotFound, PreconditionFailed
from celery.backends.database import DatabaseBackend
from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy.exc import IntegrityError, OperationalError

from airfleet.runners.local import ports
from airfleet.workspace import certificate_authority
from airfleet_provider.compat.calls import celery_publishing, db_errors
from airfleet_provider.liveness import http_probe, wait_for_database
from airfleet_provider.liveness.heartbeat_grace import LONGEST_BLINK_S, HeartbeatGrace
from airfleet_provider.liveness.heartbeat_history import Heartbeat
from airfleet_provider.liveness.host_probe import HostProbe
from airfleet_provider.liveness.task_liveness import LOST_S, TaskLiveness
from clocks import MadeUpClock
from deadline import PATIENCE_S, wait_until

TIMEOUT_S = 90.0


def look(*looks: tuple[float, bool]) -> HeartbeatGrace:
    patience = HeartbeatGrace()
    for now, could_report in looks:
        patience = patience.look(now, could_report=could_report)
    return patience


def steadily(until: int, *, without: range = range(0)) -> list[tuple[float, bool]]:
    return [(float(now), now not in without) for now in range(0, until + 1, 10)]


@pytest.mark.parametrize(
    ("looks", "is_over"),
    [
        ([], False),
        (steadily(80), False),
        (steadily(90), True),
        (steadily(200, without=range(50, 110)), True),
        (steadily(190, without=range(50, 110)), False),
        ([(0.0, True), (LONGEST_BLINK_S + 50, True)], False),
    ],
    ids=["never looked", "not for long", "long enough", "long after an outage", "soon after one", "after a pause"],
)
def test_silence_is_death_only_after_a_whole_time_out_in_which_it_could_speak(
    looks: list[tuple[float, bool]], is_over: bool
) -> None:
    assert look(*looks).is_over(looks[-1][0] if looks else 0.0, TIMEOUT_S) is is_over


def test_nobody_is_dead_while_there_is_nobody_to_report_to() -> None:
    watch = TaskLiveness(["http://127.0.0.1:9"], 0.0)
    assert not watch.judge({"a": Heartbeat("h", 1)})


def watch_tasks(says: Callable[[float], Mapping[object, Heartbeat]], *, until: float) -> dict[object, float]:
    """When each task is called dead that says so and so at each moment; the api-servers answer all the time."""
    clock, dead = MadeUpClock(), {}
    with health(200) as url, pytest.MonkeyPatch.context() as patient:
        patient.setattr(http_probe, "WAIT_S", PATIENCE_S)
        watch = TaskLiveness([url], 40.0, clock=clock)
        while clock.now < until:
            for tasks in watch.judge(says(clock.now)).values():
                dead.update({task: clock.now for task in tasks if task not in dead})
            clock.now += 5.0
    return dead


@pytest.mark.parametrize("skew_s", [-600.0, -60.0, 0.0, 60.0, 600.0])
def test_a_task_is_judged_by_whether_it_spoke_and_not_by_what_its_stamp_says(skew_s: float) -> None:
    """Two api-servers take turns, one of which has a wrong clock; one task falls silent after 100 s."""

    def says(now: float) -> dict[object, Heartbeat]:
        clock = skew_s if now % 10 else 0.0
        return {
            "lives": Heartbeat("h", now + clock),
            "dies": Heartbeat("h", min(now, 100.0) + (clock if now < 100 else 0.0)),
        }

    assert watch_tasks(says, until=300) == {"dies": 140.0}


def test_a_task_that_is_new_has_spoken_just_now() -> None:
    assert not watch_tasks(lambda now: {now // 30: Heartbeat("h", "never changes")}, until=200)


@contextlib.contextmanager
def silent_urls(number: int) -> Iterator[list[str]]:
    """Hosts that take no connection and refuse none, as without power: the queue of each is full."""
    with contextlib.ExitStack() as stack:
        urls = []
        for _ in range(number):
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            urls.append(f"http://127.0.0.1:{server.getsockname()[1]}")
            for _ in range(3):
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(server.getsockname())
        yield urls


@contextlib.contextmanager
def health(
    status: int, *, after_s: float = 0.0, certificate: Path | None = None, address: str = "127.0.0.1"
) -> Iterator[str]:
    """An execution API that says so of its health, with TLS if there is a certificate."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(after_s)
            with contextlib.suppress(OSError):
                self.send_response(status if self.path == "/execution/health" else 500)
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((address, 0), Answer) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"{'https' if certificate else 'http'}://{address}:{server.server_port}"
        server.shutdown()


def test_api_hosts_without_power_do_not_hold_up_the_scheduler_that_asks_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_probe, "WAIT_S", PATIENCE_S)
    with silent_urls(4) as silent, health(200) as well:
        watch = TaskLiveness([*silent, well], 0.0)
        began = time.monotonic()
        looks = [watch.may_judge() for _ in range(3)]
        assert all(looks)
        assert time.monotonic() - began < PATIENCE_S, "it waited for a host without power"


def test_where_no_api_host_answers_a_look_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_probe, "WAIT_S", 0.05)
    with silent_urls(4) as silent:
        watch = TaskLiveness(silent, 0.0)
        began = time.monotonic()
        assert not any(watch.may_judge() for _ in range(3))
        assert time.monotonic() - began < PATIENCE_S


def test_an_answer_that_came_late_counts_at_the_next_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_probe, "WAIT_S", 0.05)
    with health(200, after_s=0.1) as slow:
        watch = TaskLiveness([slow], 0.0)
        wait_until(watch.may_judge, "the answer")


@pytest.mark.parametrize(("address", "is_heard"), [("127.0.0.1", True), ("127.0.0.2", False)])
def test_an_api_with_tls_counts_if_it_proves_its_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, is_heard: bool
) -> None:
    monkeypatch.setattr(http_probe, "WAIT_S", 0.1)
    now = datetime.now(UTC)
    authority = certificate_authority.load(certificate_authority.create("x", now), where="here")
    own = certificate_authority.issue(authority, "web1", [], now)
    (tmp_path / "ca.pem").write_text(authority.pem)
    (tmp_path / "host.pem").write_text(own.certificate + own.key.reveal())
    with health(200, certificate=tmp_path / "host.pem", address=address) as url, silent_urls(2) as silent:
        watch = TaskLiveness([*silent, url], 0.0, authorities=str(tmp_path / "ca.pem"))
        if is_heard:
            wait_until(watch.asker.hears, "the answer")
        else:
            assert not any(watch.asker.hears() for _ in range(8))


def test_an_api_without_its_database_is_nobody_to_report_to() -> None:
    with health(503) as url:
        watch = TaskLiveness([url], 0.0)
        assert not any(watch.may_judge() for _ in range(3))


@dataclass
class Host:
    """A host on the loopback that answers until it has lost its power."""

    server: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0), backlog=0))
    waiting: list[socket.socket] = field(default_factory=list)

    def serve(self) -> None:
        self.server.settimeout(0)
        while not self.waiting:
            try:
                self.server.accept()[0].close()
            except BlockingIOError:
                return

    @property
    def port(self) -> int:
        return int(self.server.getsockname()[1])

    def lose_power(self) -> None:
        for _ in range(8):  # once its backlog is full, what else comes is dropped
            connection = socket.socket()
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", self.port))
            self.waiting.append(connection)

    def close(self) -> None:
        for one in (*self.waiting, self.server):
            one.close()


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


def feel(pulse: HostProbe, clock: MadeUpClock, host: Host | None = None, *, until: float) -> None:
    while clock.now < until:
        pulse.feel(["127.0.0.1", "a.name"])
        if host:
            host.serve()
        clock.now += 5.0


def test_a_host_is_silent_that_used_to_answer(host: Host) -> None:
    clock = MadeUpClock()
    pulse = HostProbe(host.port, clock=clock)
    feel(pulse, clock, host, until=60)
    assert not pulse.is_silent("127.0.0.1", 9.0)
    host.lose_power()
    feel(pulse, clock, host, until=75)
    assert pulse.is_silent("127.0.0.1", 9.0)
    assert not pulse.is_silent("a.name", 9.0)


def test_a_host_that_refuses_has_answered() -> None:
    port = ports.find_free()
    clock = MadeUpClock()
    pulse = HostProbe(port, clock=clock)
    feel(pulse, clock, until=60)
    assert pulse.known == {"127.0.0.1"}
    assert not pulse.is_silent("127.0.0.1", 0.0)


def test_a_scheduler_that_did_not_look_for_long_calls_no_host_silent_for_it(host: Host) -> None:
    clock = MadeUpClock()
    pulse = HostProbe(host.port, clock=clock)
    feel(pulse, clock, host, until=10)
    clock.now += 14
    feel(pulse, clock, host, until=25)
    assert not pulse.is_silent("127.0.0.1", 9.0)


def test_a_host_that_never_answered_is_not_called_silent(host: Host) -> None:
    host.lose_power()
    clock = MadeUpClock()
    pulse = HostProbe(host.port, clock=clock)
    feel(pulse, clock, host, until=600)
    assert not pulse.is_silent("127.0.0.1", 9.0)


@pytest.mark.parametrize("could_report", [True, False])
def test_a_host_is_lost_only_while_tasks_could_report(
    host: Host, monkeypatch: pytest.MonkeyPatch, could_report: bool
) -> None:
    """Of its tasks those are dead that were silent for 20 s; the others have the whole time-out."""
    clock = MadeUpClock()
    found: dict[object, float] = {}
    monkeypatch.setattr(http_probe, "WAIT_S", PATIENCE_S)
    with health(200) as url:
        pulse = HostProbe(host.port, clock=clock)
        watch = TaskLiveness([url if could_report else "http://127.0.0.1:9"], TIMEOUT_S, clock=clock, pulse=pulse)
        while clock.now < 90:
            if clock.now == 50:
                host.lose_power()
            beats: dict[object, Heartbeat] = {
                "of the host": Heartbeat("127.0.0.1", min(clock.now, 50.0)),
                "elsewhere": Heartbeat("a.name", min(clock.now, 50.0)),
            }
            for silent_s, tasks in watch.judge(beats).items():
                assert silent_s == LOST_S
                found.update({task: clock.now for task in tasks if task not in found})
            host.serve()
            clock.now += 5.0
    assert found == ({"of the host": 70.0} if could_report else {})


@pytest.mark.parametrize(
    ("error", "outage"),
    [
        (OperationalError("SELECT", {}, Exception("server closed the connection")), True),
        (IntegrityError("INSERT", {}, Exception("duplicate key")), False),
    ],
)
def test_a_broken_connection_is_an_outage_and_a_wrong_statement_is_not(error: Exception, outage: bool) -> None:
    assert db_errors.is_outage(error) is outage


class Broker:
    """Takes some tasks, and says of each other what it is told to."""

    def __init__(self, takes: str, failures: list[BaseException]) -> None:
        self.takes, self.failures = takes, failures
        self.tried: list[str] = []

    def send(self, workloads: Sequence[tuple[str, str]]) -> list[tuple[str, str, object]]:
        ((name, what),) = workloads
        self.tried.append(name)
        takes = name in self.takes or not self.failures
        return [(name, what, "sent" if takes else ExceptionWithTraceback(self.failures.pop(0), ""))]

    def discard(self) -> None:
        self.tried.append("new connection")


def send(broker: Broker, names: str) -> list[tuple[str, str]]:
    answers = celery_publishing.send_until_refused(broker.send, [(name, "task") for name in names], broker.discard)
    return [(one[0], type(one[2].exception).__name__ if one[2] != "sent" else "sent") for one in answers]


def test_after_the_first_that_the_broker_refuses_twice_no_other_is_tried_and_none_fails() -> None:
    broker = Broker("a", [BrokerError("refused"), BrokerError("refused")])
    assert send(broker, "abc") == [("a", "sent"), ("b", "AirflowTaskTimeout"), ("c", "AirflowTaskTimeout")]
    assert broker.tried == ["a", "b", "new connection", "b", "new connection"]


def test_a_connection_that_ended_since_its_last_use_costs_no_task_a_turn() -> None:
    broker = Broker("", [ConnectionResetError("by peer")])
    assert send(broker, "ab") == [("a", "sent"), ("b", "sent")]
    assert broker.tried == ["a", "new connection", "a", "b"]


def test_what_took_the_whole_time_out_is_not_tried_again_at_once() -> None:
    broker = Broker("", [AirflowTaskTimeout("late")])
    assert send(broker, "ab") == [("a", "AirflowTaskTimeout"), ("b", "AirflowTaskTimeout")]
    assert broker.tried == ["a", "new connection"]


@pytest.mark.parametrize(
    ("failure", "is_outage"),
    [
        (MessageNacked(), True),
        (NotFound("home node of durable queue is down", (50, 10)), True),
        (InternalError("timeout", (50, 10)), True),
        (AccessRefused("Login was refused", (0, 0)), True),
        (AccessRefused("access to queue refused", (50, 10)), False),
        (PreconditionFailed("inequivalent arg", (50, 10)), False),
        (AirflowException("no such queue"), False),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_task_itself_is_not_tried_again_and_what_is_with_the_broker_is(
    failure: Exception, is_outage: bool
) -> None:
    broker = Broker("", [failure, failure])
    assert send(broker, "a") == [("a", "AirflowTaskTimeout" if is_outage else type(failure).__name__)]


def test_airflow_is_as_the_seams_expect() -> None:
    loop = inspect.getsource(SchedulerJobRunner._run_scheduler_loop)
    assert "self._find_and_purge_task_instances_without_heartbeats" in loop
    purge = inspect.getsource(SchedulerJobRunner._find_and_purge_task_instances_without_heartbeats)
    assert "self._find_task_instances_without_heartbeats(\n                session=session" in purge
    find = inspect.getsource(SchedulerJobRunner._find_task_instances_without_heartbeats)
    for piece in (
        "asset_loader, alias_loader = _eager_load_dag_run_for_validation()",
        "selectinload(TI.dag_model)",
        "selectinload(TI.dag_version)",
        "TI.state.in_((TaskInstanceState.RUNNING, TaskInstanceState.RESTARTING))",
        "TI.queued_by_job_id == self.job.id",
    ):
        assert piece in find
    run = inspect.getsource(SchedulerJobRunner._execute)
    assert run.index("executor.start()") < run.index("self._run_scheduler_loop()")
    assert inspect.signature(get_execution_api_server_url).bind()
    send = inspect.getsource(celery_executor.CeleryExecutor._send_workloads)
    assert "self._send_workloads_to_celery(" in send
    assert "result.exception, AirflowTaskTimeout" in send
    assert "return key, args, result" in inspect.getsource(send_workload_to_executor)
    assert celery_executor.AirflowTaskTimeout is AirflowTaskTimeout
    assert not DatabaseBackend.exception_safe_to_retry(None, Exception())


def test_a_process_starts_once_the_database_answers_and_says_meanwhile_why_it_does_not() -> None:
    clock = MadeUpClock(100.0)
    said: list[str] = []

    def look() -> None:
        if clock.now < 230:
            raise OSError("connection refused\nIs the server running?")

    wait_for_database.wait(look, said.append, clock=clock, sleep=clock.sleep)
    assert clock.now == 230
    assert said == [
        "the database has not answered for 0 s, waiting: connection refused",
        "the database has not answered for 60 s, waiting: connection refused",
        "the database has not answered for 120 s, waiting: connection refused",
        "the database answers again after 130 s",
    ]


def test_where_the_database_is_comes_from_the_environment_or_the_file(tmp_path: Path) -> None:
    config = tmp_path / "airflow.cfg"
    config.write_text("[core]\nparallelism = 4\n\n[database]\nsql_alchemy_conn = postgresql://a:b%%40c@/d?host=e:1\n")
    environment = {"AIRFLOW_CONFIG": str(config)}
    assert wait_for_database.read_url(environment) == "postgresql://a:b%40c@/d?host=e:1"
    assert wait_for_database.read_url(
        {**environment, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql:///f"}
    ).endswith("f")


def test_the_command_keeps_its_process_and_its_words(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import os, sys; print(os.getpid(), sys.argv[1])", "a b"]
    script = (
        f"from airfleet_provider.liveness import wait_for_database as it; it.ask = lambda url: None; it.main({words!r})"
    )
    environment = {**os.environ, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql:///"}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment) as child:
        out, _ = child.communicate()
    assert out.split(maxsplit=1) == [str(child.pid), "a b\n"]
