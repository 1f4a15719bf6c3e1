"""What breaks first with hundreds of worker hosts? Light workers at a real PostgreSQL and a real RabbitMQ.

make bench-many-hosts                                   keys of bench/results/many_hosts.json, in about three minutes
make bench-many-hosts ARGS="--hosts 10,50 --output /tmp/few.json"      a quick look

For each number of hosts, with 16 slots each:

- each worker reports as its host does, by the function that the api-server calls for it. `report_ms` is the CPU of one
  report there, without that of HTTP, `report_db_ms` that of PostgreSQL, and `report_core` the share of a core of both
  together, with the reports that the platform asks of so many workers;
- each running task sends a heartbeat each five seconds, by the statement of the execution API. `heartbeat_ms` is the
  CPU of its client, `heartbeat_db_ms` that of PostgreSQL, and `heartbeat_core` the share of a core of both together,
  with all slots in use;
- the loop of slots decides, with all slots in use and as many tasks that wait. `turn_ms` is the CPU of a turn in the
  agents, `turn_db_ms` that of PostgreSQL, and `turn_core` the share of a core of both with a turn a second;
- each worker is a consumer of its own connection at a quorum queue of RabbitMQ, packed by priority, and acknowledges
  what it gets. `messages_per_s` is the rate with one sender, `message_ms` the CPU of the node for a message,
  `idle_core` its share of a core while nothing is sent, and `connection_mib` its memory for one more host.

CPU times hold on a busy machine too; `messages_per_s` is of the machine as it is (`load`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import amqp
import psutil
import psycopg
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

import brokers
import servers
from airfleet.components.rabbitmq.private_node import VHOST
from airfleet_provider.agent_loops.lease import AgentsLease
from airfleet_provider.agent_loops.loop import Context, connect
from airfleet_provider.contract.slot_rules import SlotRule
from airfleet_provider.contract.statements import Statements
from airfleet_provider.slots.loop import SlotLoop
from airfleet_provider.slots.reports import note
from airflow_tables import serve
from support import RESULTS, say, wait

LOGIN = ("bench", "bench-of-many-hosts")
HOSTS, SLOTS, QUEUE = (10, 100, 1000), 16, "default"
# More connections than this are no light workers any more, for the process that has them all.
MOST_CONSUMERS = 300
HEARTBEAT_S = 5.0
REPORTS, TURNS, MESSAGES, IDLE_S = 400, 20, 3000, 15.0
API = Statements("airfleet_provider.execution_api", "queries")
ROWS = """
INSERT INTO task_instance (id, dag_id, run_id, task_id, map_index, state, try_number, max_tries, pool, pool_slots,
    queue, priority_weight, hostname, span_status, executor_config, start_date, queued_dttm)
SELECT gen_random_uuid(), 'd' || n %% 500, 'r', 't', n, CASE WHEN n %% 2 = 0 THEN 'running' ELSE 'scheduled' END, 1, 1,
    'default_pool', 1, 'default', 1, 'h', 'ended', ''::bytea, now(), now()
FROM generate_series(1, %s) n
"""
DAGS = """
INSERT INTO dag (dag_id, is_paused, is_stale, exceeds_max_non_backfill, bundle_name, timetable_type,
    timetable_partitioned, timetable_periodic, partition_mapper_info, max_active_tasks, max_consecutive_failed_dag_runs,
    has_task_concurrency_limits, fail_fast, has_import_errors)
SELECT 'd' || n, false, false, false, 'b', '', false, true, '{}', 100, 0, false, false, false
FROM generate_series(0, 499) n
"""
RUNS = """
INSERT INTO dag_run (dag_id, run_id, state, run_type, run_after, logical_date, created_at, updated_at, clear_number,
    context_carrier, span_status)
SELECT 'd' || n, 'r', 'running', 'manual', now(), now(), now(), now(), 0, '{}', 'ended' FROM generate_series(0, 499) n
"""


def count_cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process with all that it has started, also of those that have ended."""
    total = 0.0
    for one in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            spent = one.cpu_times()
            total += spent.user + spent.system + spent.children_user + spent.children_system
    return total


def time_calls(pid: int, calls: Sequence[Callable[[], object]]) -> tuple[float, float]:
    """Return the milliseconds of CPU that one of these calls costs this process, and a server."""
    server, own = count_cpu_s(pid), time.process_time()
    for call in calls:
        call()
    spent = time.process_time() - own
    return round(spent * 1e3 / len(calls), 2), round((count_cpu_s(pid) - server) * 1e3 / len(calls), 2)


def measure_agents(server: servers.Server, hosts: int) -> dict[str, Any]:
    """Return what reports and decisions cost with so many hosts."""
    assert server.process
    names = tuple(f"host{number:04}" for number in range(hosts))
    server.query("TRUNCATE task_instance, dag_run, dag, airfleet.worker_slots, airfleet.slot_decision CASCADE")
    for statement in (DAGS, RUNS):
        server.query(statement)
    server.query(ROWS, hosts * SLOTS * 2)
    server.query("ANALYZE")
    engine = create_engine(server.dsn.replace("postgresql://", "postgresql+psycopg2://"))
    lease = AgentsLease("host:1")
    context = Context("slots", {}, lease, threading.Event(), lambda own: connect({"conninfo": server.dsn}, own))

    @contextmanager
    def open_session() -> Iterator[Session]:
        with Session(engine) as session, session.begin():
            yield session

    def report(host: str) -> dict[str, Any]:
        values = {"pool": "cpu", "host": host, "held": SLOTS, "in_force": SLOTS, "takes": True, "marked": False}
        answer = note(values, open_session)
        assert answer is not None
        return answer

    def turn() -> None:
        with context.share() as connection:
            lease.note(lease.ask(connection))
        loop.once(context)

    rule = SlotRule("cpu", (QUEUE,), names, SLOTS, pack=True, ahead_s=90.0)
    loop = SlotLoop((rule,))
    try:
        turn()
        again_s = report(names[0])["again_s"]
        for name in names:
            report(name)
        turn()
        report_ms, report_db_ms = time_calls(
            server.process.pid,
            [partial(report, names[one % hosts]) for one in range(REPORTS)],
        )
        beats = measure_heartbeats(server, hosts)
        turn_ms, turn_db_ms = time_calls(server.process.pid, [turn] * TURNS)
    finally:
        with context.share() as connection:
            lease.release(connection)
        context.disconnect()
        engine.dispose()
    return {
        "report_ms": report_ms,
        "report_db_ms": report_db_ms,
        "report_every_s": round(again_s, 2),
        "report_core": round(hosts / again_s * (report_ms + report_db_ms) / 1e3, 3),
        **beats,
        "turn_ms": turn_ms,
        "turn_db_ms": turn_db_ms,
        "turn_core": round((turn_ms + turn_db_ms) / 1e3, 3),
    }


def measure_heartbeats(server: servers.Server, hosts: int) -> dict[str, float]:
    """Return what heartbeats cost with all slots of so many hosts in use."""
    assert server.process
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        rows = connection.execute("SELECT id FROM task_instance WHERE state = 'running' LIMIT %s", [REPORTS]).fetchall()
        connection.execute("UPDATE task_instance SET pid = 1 WHERE state = 'running'")

        def beat(one: object) -> None:
            values = {"id": one, "hostname": "h", "pid": 1, "now": datetime.now(UTC)}
            assert connection.execute(API["heartbeat"], values).rowcount == 1

        chosen = [rows[number % len(rows)][0] for number in range(REPORTS)]
        spent_ms, spent_db_ms = time_calls(server.process.pid, [partial(beat, one) for one in chosen])
    return {
        "heartbeat_ms": spent_ms,
        "heartbeat_db_ms": spent_db_ms,
        "heartbeat_core": round(hosts * SLOTS / HEARTBEAT_S * (spent_ms + spent_db_ms) / 1e3, 3),
    }


class LightWorker:
    """A consumer of its own connection, which acknowledges each message as a worker does with one whose task ended."""

    def __init__(self, broker: brokers.Broker, rank: int, taken: Counter[int]) -> None:
        self._connection = broker.connect(*LOGIN, VHOST)
        self._channel = self._connection.channel()
        self._channel.basic_qos(0, SLOTS, a_global=False)
        self._rank, self._taken, self._is_over = rank, taken, False
        self._channel.basic_consume(QUEUE, callback=self._take, arguments={"x-priority": 10_000 - rank})
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _take(self, message: amqp.Message) -> None:
        self._taken[self._rank] += 1
        message.channel.basic_ack(message.delivery_tag)

    def _serve(self) -> None:
        while not self._is_over:
            with contextlib.suppress(socket.timeout):
                self._connection.drain_events(timeout=1.0)

    def stop(self) -> None:
        self._is_over = True
        self.thread.join()
        self._connection.close()


def measure_broker(broker: brokers.Broker, hosts: int) -> dict[str, Any]:
    """Return what so many consumers cost the node."""

    def measure_memory() -> float:
        # What its operating system gave it says little: Erlang returns memory when it likes.
        return int(broker.control("eval", "erlang:memory(processes_used) + erlang:memory(binary).")) / (1 << 20)

    before, taken = measure_memory(), Counter[int]()
    workers = [LightWorker(broker, rank, taken) for rank in range(hosts)]
    try:
        time.sleep(2.0)
        memory = measure_memory()
        began, cpu = time.monotonic(), count_cpu_s(broker.pid)
        time.sleep(IDLE_S)
        idle_core = (count_cpu_s(broker.pid) - cpu) / (time.monotonic() - began)
        sender = broker.connect(*LOGIN, VHOST)
        channel = sender.channel()
        began, cpu = time.monotonic(), count_cpu_s(broker.pid)
        for _ in range(MESSAGES):
            channel.basic_publish(amqp.Message(bytes(2000), delivery_mode=2), "", QUEUE)
        wait(lambda: taken.total() >= MESSAGES, "all messages")
        took_s, spent_s = time.monotonic() - began, count_cpu_s(broker.pid) - cpu
        sender.close()
    finally:
        for one in workers:
            one.stop()
    return {
        "consumers": hosts,
        "connection_mib": round((memory - before) / hosts, 2),
        "idle_core": round(idle_core, 3),
        "messages_per_s": round(MESSAGES / took_s),
        "message_ms": round(spent_s * 1e3 / MESSAGES, 2),
        "hosts_with_tasks": len(taken),
    }


def make_queue(broker: brokers.Broker) -> None:
    """Make a queue of the kind that fleets have, and a login that may do all."""
    broker.control("add_user", *LOGIN)
    broker.control("set_permissions", "-p", VHOST, LOGIN[0], ".*", ".*", ".*")
    connection = broker.connect(*LOGIN, VHOST)
    connection.channel().queue_declare(QUEUE, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
    connection.close()


def main() -> None:
    """Run the benchmark, print its figures and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", default=",".join(map(str, HOSTS)), help="numbers of hosts")
    parser.add_argument("--output", type=Path, default=RESULTS / "many_hosts.json")
    wanted = parser.parse_args()
    found: dict[str, Any] = {"slots": SLOTS, "cpus": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "fleets": {}}
    with serve() as server, brokers.serve() as broker:
        make_queue(broker)
        server.query("ALTER ROLE postgres SET session_replication_role = replica")  # rows without all their parents
        server.query("INSERT INTO slot_pool (pool, slots, include_deferred) VALUES ('default_pool', -1, false)")
        for hosts in map(int, wanted.hosts.split(",")):
            figures = measure_agents(server, hosts)
            if hosts <= MOST_CONSUMERS:
                figures |= measure_broker(broker, hosts)
            found["fleets"][str(hosts)] = figures
            say(f"{hosts} hosts: {figures}")
    print(json.dumps(found, indent=2))
    wanted.output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
