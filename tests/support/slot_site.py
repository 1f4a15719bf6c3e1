"""Real Celery workers at a real RabbitMQ node, and the web host that answers their reports with their slots."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from celery import Celery
from celery.signals import before_task_publish

import brokers
from airfleet.components import celery as celery_files
from airfleet.components.rabbitmq import private_node
from airfleet.spec.secrets import Secret
from airfleet_provider.contract import environment
from airfleet_provider.executors import celery_config, celery_executor

QUEUE = "default"
AGAIN_S = 0.2


@dataclass(frozen=True, slots=True)
class SlotNews:
    """The last report of a worker, and when it came."""

    held: int
    in_force: int
    takes: bool
    at: float = field(default_factory=time.monotonic)


class SlotDesk:
    """Answers each report with what `answers` has for the host, or not at all while it `is_silent`."""

    def __init__(self, answer: Callable[[str], tuple[int, int | None]]) -> None:
        self.is_silent = False
        # The hosts whose workers are drained on a page.
        self.drained: set[str] = set()
        self.news: dict[str, SlotNews] = {}
        desk = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                host = path.rpartition("/")[2]
                held, in_force, takes = (int(parse_qs(query)[name][0]) for name in ("held", "in_force", "takes"))
                desk.news[host] = SlotNews(held, in_force, bool(takes))
                slots, rank = answer(host)
                body = {"slots": slots, "rank": rank, "drained": host in desk.drained, "again_s": AGAIN_S}
                self.send_response(503 if desk.is_silent else 200)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: object) -> None:
                """Write nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class SlotSite:
    """Workers, the application that sends to them, and the log of their tasks."""

    def __init__(self, folder: Path, broker: brokers.Broker, desk: SlotDesk, slots: int) -> None:
        self.log = folder / "tasks.log"
        self.log.touch()
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self._folder, self._desk, self._slots = folder, desk, slots
        publisher, consumer = private_node.list_logins(broker.node, (QUEUE,))
        key, dsn, kind = broker.node.signing, Secret("postgresql://nowhere"), private_node.QUEUE_TYPE
        files = {
            "worker": celery_files.render_worker(private_node.url(broker.node, consumer), dsn, (QUEUE,), kind, key),
            "scheduler": celery_files.render_scheduler(
                private_node.url(broker.node, publisher), dsn, (QUEUE,), kind, key
            ),
        }
        for name, text in files.items():
            (folder / name).write_text(text.reveal())
        body = json.loads((folder / "scheduler").read_text())
        link = celery_config.BrokerCredentials(**{**body, "queues": (QUEUE,), "public_keys": ()})
        self.app = Celery(set_as_current=False)
        self.app.config_from_object({**celery_config.make_config({}, link), "imports": [], "result_backend": None})
        celery_executor.sign_messages(link)

    def start(self, host: str, *, pool: str = "prefork", env: dict[str, str] | None = None) -> None:
        """Start the worker of a host."""
        words = {
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parent),
            "AIRFLOW_HOME": str(self._folder / "airflow"),
            "SLOTS_LOG": str(self.log),
            environment.CELERY: str(self._folder / "worker"),
            environment.DRAINED: str(self._folder / f"{host}-mark"),
            environment.WORKERS: str(self._folder / "notes"),
            environment.SLOTS: f"http://127.0.0.1:{self._desk.server.server_port}/airfleet/workers/{QUEUE}/{host}",
            **(env or {}),
        }
        command = [sys.executable, "-m", "celery", "-A", "slots_worker", "worker", "-n", f"{host}@{host}"]
        command += ["-Q", QUEUE, "-c", str(self._slots), "-P", pool]
        with (self._folder / f"{host}.log").open("ab") as output:
            self.workers[host] = subprocess.Popen(command, env=words, stdout=output, stderr=output)

    def send(self, name: str, seconds: float) -> None:
        self.app.send_task("work", (name, seconds), queue=QUEUE, ignore_result=True)

    def read(self) -> list[tuple[str, str, str, float]]:
        """Return the lines of the log: begun or ended, the task, its host and the moment."""
        whole = self.log.read_text().rpartition("\n")[0]  # the last line may be half written
        lines = (line.split() for line in whole.splitlines())
        return [(what, name, host, float(at)) for what, name, host, at in lines]

    def end(self, patience_s: float) -> None:
        before_task_publish.disconnect(dispatch_uid="airfleet")
        self.app.close()
        for process in self.workers.values():
            process.send_signal(signal.SIGTERM)
        for process in self.workers.values():
            try:
                process.wait(patience_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def run_workers(
    folder: Path,
    broker: brokers.Broker,
    desk: SlotDesk,
    hosts: Sequence[str],
    slots: int,
    *,
    pool: str = "prefork",
    env: dict[str, str] | None = None,
) -> Iterator[SlotSite]:
    """Run a worker for each host until the end."""
    site = SlotSite(folder, broker, desk, slots)
    try:
        for host in hosts:
            site.start(host, pool=pool, env=env)
        yield site
    finally:
        site.end(60)


def describe(site: SlotSite) -> Any:  # noqa: ANN401 - for a message
    return site.read()[-20:]
