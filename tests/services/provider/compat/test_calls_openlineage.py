"""What a process that forks tasks does for OpenLineage: the first event's work, once, and nothing where it is off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from airfleet_provider.compat.patches import lineage_work
from airfleet_provider.contract import environment
from airfleet_provider.contract.task_records import TRANSPORT, is_of_task
from airfleet_provider.task_records.openlineage import RUN_FACETS
from deadline import COMMAND_S

# A process as the one that tasks are forked from, then a task of it that succeeds.
PROGRAM = """
import json, os, sys
from airfleet_provider.compat.calls import openlineage
from airfleet_provider.compat.patches import lineage_work
openlineage.log.debug = lambda *said: print(*said, file=sys.stderr)
from airflow.sdk.listener import get_listener_manager
get_listener_manager()
name, records, patch = sys.argv[1:]
found = {"own": openlineage.has_own_transport()}
if found["own"] and patch:
    lineage_work.leave_out()
    found["patched"] = lineage_work.PATCH.is_applied()
if found["own"]:
    openlineage.warm()
known = set(sys.modules)
found["loaded"] = any(name.split(".")[0] == "openlineage" for name in known)
if found["own"]:
    listener = sys.modules["airflow.providers.openlineage.plugins.listener"].get_openlineage_listener()
    found["client"] = listener.adapter._client is not None
    os.environ[name] = records
    task = openlineage._make_task()
    listener.on_task_instance_running("queued", task)
    listener.on_task_instance_success("running", task)
    later = set(sys.modules) - known
    found["later"] = sorted(name for name in later if "airfleet" in name or "openlineage" in name)
print(json.dumps(found))
"""
OWN = {"disabled": "False", "transport": json.dumps({"type": TRANSPORT}), "execute_in_thread": "True"}


def load(tmp_path: Path, records: str = "records", patch: str = "yes", **settings: str) -> dict[str, object]:
    own = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    env = {**os.environ, **own, **{f"AIRFLOW__OPENLINEAGE__{name.upper()}": value for name, value in settings.items()}}
    command = [sys.executable, "-c", PROGRAM, environment.RECORDS, str(tmp_path / records), patch]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=COMMAND_S)
    assert done.returncode == 0, done.stderr
    assert "cold" not in done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def read_events(tmp_path: Path, records: str) -> list[dict[str, Any]]:
    """The events of a task, without their time."""
    [written] = tmp_path.glob(f"{records}.*")
    events = [json.loads(line)["body"] for line in written.read_text().splitlines()]
    return [{**one, "eventTime": ""} for one in events]


def test_a_task_finds_the_client_of_its_warm_process_and_writes_to_a_file_of_its_own(tmp_path: Path) -> None:
    found = load(tmp_path, **OWN)
    assert found == {"own": True, "patched": True, "loaded": True, "client": True, "later": []}
    # The events of the warm process itself were not written, and neither was that of the start.
    [event] = read_events(tmp_path, "records")
    assert (event["eventType"], event["job"]["name"], is_of_task(event)) == ("COMPLETE", "warm.warm", True)


def test_what_a_warm_process_does_changes_no_event(tmp_path: Path) -> None:
    load(tmp_path, "patched", **OWN)
    assert "patched" not in load(tmp_path, "plain", patch="", **OWN)
    assert read_events(tmp_path, "patched") == read_events(tmp_path, "plain")


def test_facets_that_are_not_collected_are_none_that_are_kept() -> None:
    assert not lineage_work.LEFT_OUT & RUN_FACETS


def test_another_transport_gets_everything_and_nothing_is_warmed_for_it(tmp_path: Path) -> None:
    # It may open connections, which no forks may share.
    other = json.dumps({"type": "http", "url": "http://127.0.0.1:9"})
    assert load(tmp_path, disabled="False", transport=other) == {"own": False, "loaded": True}


def test_nothing_of_openlineage_is_imported_where_it_is_off(tmp_path: Path) -> None:
    assert load(tmp_path, disabled="True") == {"own": False, "loaded": False}
