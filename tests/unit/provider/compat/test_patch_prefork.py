"""What is done once for all tasks is what Airflow's own task process does for itself."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import pytest
from airflow.sdk.execution_time import comms, supervisor, task_runner

from airfleet_provider.compat.patches import prefork
from forked import run_forked


def test_each_kind_of_message_has_one_decoder() -> None:
    def work() -> list[object]:
        prefork.import_modules()
        prefork.keep_parts()
        ours, theirs = socket.socketpair()
        one, two = (comms.CommsDecoder(socket=end) for end in (ours, theirs))
        adapter = task_runner.TypeAdapter(task_runner.JsonValue)
        return [one.body_decoder is two.body_decoder, adapter.validate_python({"a": [1]})]

    assert run_forked(work) == [True, {"a": [1]}]


@pytest.mark.parametrize(
    "text", ["import no_such_module", "raise ValueError('these settings')"], ids=["not installed", "refuses settings"]
)
def test_a_module_that_cannot_be_imported_keeps_no_pool_from_its_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    (tmp_path / "refusing_plugin.py").write_text(text)
    (tmp_path / "later_plugin.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(prefork, "TASK_MODULES", ("refusing_plugin", "later_plugin"))
    prefork.import_modules()
    assert sys.modules.pop("later_plugin")


def test_a_task_logs_to_its_own_channel() -> None:
    read, write = os.pipe()
    before, log = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(log, prefork.prepare_log())
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
