"""What is done once for all tasks is what Airflow's own task process does for itself."""

from __future__ import annotations

import inspect
import json
import os
import sys

from airflow.sdk.execution_time import comms, supervisor, task_runner

from airfleet_provider.compat import groundwork


def test_the_parts_are_made_where_they_are_looked_for() -> None:
    source = inspect.getsource(comms.CommsDecoder)
    assert source.count("TypeAdapter(ToTask)") == 2
    assert "TypeAdapter(JsonValue)" in inspect.getsource(task_runner._serialize_rendered_fields)


def run_apart(work: str) -> str:
    """What a Python of its own prints, as the work changes modules for good."""
    import subprocess  # noqa: PLC0415

    code = f"from airfleet_provider.compat import groundwork\n{work}"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_each_kind_of_message_has_one_decoder() -> None:
    work = """
groundwork.import_modules()
groundwork.keep_parts()
import socket
from airflow.sdk.execution_time import comms, task_runner
one, two = (comms.CommsDecoder(socket=None) for _ in range(2))
print(one.body_decoder is two.body_decoder, task_runner.TypeAdapter(task_runner.JsonValue).validate_python({"a": [1]}))
"""
    assert run_apart(work).splitlines()[-1] == "True {'a': [1]}"


def test_a_task_logs_to_its_own_channel() -> None:
    read, write = os.pipe()
    before, log = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(log, groundwork.prepare_log())
            supervisor._configure_logs_over_json_channel(write)
            task_runner.log.info("hello")
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    os.close(log)
    assert json.loads(os.read(read, 4096))["event"] == "hello"
    assert os.read(before, 1) == b""
    os.close(read)
    os.close(before)


def test_a_task_sets_up_its_log_by_the_name_that_is_replaced() -> None:
    assert "_configure_logs_over_json_channel(log_fd)" in inspect.getsource(supervisor._fork_main)
