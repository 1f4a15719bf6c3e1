"""A task that starts in Airflow's own way finds no connection of the executor's process that it is forked from."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
from pathlib import Path
from uuid import uuid4

import billiard.connection
from airflow.sdk.execution_time.supervisor import WatchedSubprocess

from airfleet_provider.compat.patches.cold_start import keep_apart
from airfleet_provider.processes import fd_messages
from airfleet_provider.processes.fd_messages import CHANNEL_VARIABLE
from forked import run_forked


def test_it_reaches_neither_the_keeper_nor_a_database(tmp_path: Path) -> None:
    answer = tmp_path / "answer.json"

    def execute() -> int:
        ours, theirs = fd_messages.pair()
        os.environ[CHANNEL_VARIABLE] = str(ours.fileno())
        listener = socket.create_server(("127.0.0.1", 0))
        database = socket.create_connection(listener.getsockname())
        metrics = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        results = billiard.connection.Pipe(duplex=False)  # as between Celery and a process of its pool
        workloads = multiprocessing.get_context("fork").SimpleQueue()  # as the LocalExecutor's
        pipes = (*results, *(getattr(workloads, end) for end in ("_reader", "_writer")))
        held = [one.fileno() for one in (ours, theirs, listener, database, *pipes)]

        def look() -> None:
            said: dict[str, object] = {"variable": os.environ.get(CHANNEL_VARIABLE)}
            said["metrics"] = os.path.realpath(f"/proc/self/fd/{metrics.fileno()}")
            said["held"] = [os.path.realpath(f"/proc/self/fd/{one}") for one in held]
            print("spoken")
            answer.write_text(json.dumps(said))

        keep_apart(CHANNEL_VARIABLE)
        keep_apart(CHANNEL_VARIABLE)
        watched = WatchedSubprocess.start(id=uuid4(), target=look)
        while watched._exit_code is None:
            watched._service_subprocess(max_wait_time=1)
        assert os.environ[CHANNEL_VARIABLE] == str(ours.fileno())
        fd_messages.send(ours, {"still": "there"})
        assert fd_messages.receive(theirs)[0] == {"still": "there"}
        workloads.put("still there")
        assert workloads.get() == "still there"
        return int(watched._exit_code)

    assert run_forked(execute) == 0
    said = json.loads(answer.read_text())
    assert said["variable"] is None
    assert set(said["held"]) == {"/dev/null"}
    assert "socket:" in said["metrics"]
