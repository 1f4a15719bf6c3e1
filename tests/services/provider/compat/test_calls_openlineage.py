"""What a process that forks tasks does for OpenLineage: the first event's work, once, and nothing where it is off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from airfleet_provider.contract import environment
from airfleet_provider.contract.task_records import TRANSPORT
from deadline import COMMAND_S

# A process as the one that tasks are forked from, then a task of it that writes an event.
PROGRAM = """
import json, os, sys
from airfleet_provider.compat.calls import openlineage
openlineage.log.debug = lambda *said: print(*said, file=sys.stderr)
from airflow.sdk.listener import get_listener_manager
get_listener_manager()
if "airflow.providers.openlineage.plugins.listener" in sys.modules:
    from airflow.providers.openlineage import conf
    own, conf.transport = conf.transport, lambda: {"type": "http", "url": "http://127.0.0.1:9"}
    openlineage.warm()
    other = sys.modules["airflow.providers.openlineage.plugins.listener"].get_openlineage_listener().adapter._client
    conf.transport = own
openlineage.warm()
known = set(sys.modules)
listener = sys.modules.get("airflow.providers.openlineage.plugins.listener")
found = {"loaded": any(name.split(".")[0] == "openlineage" for name in known)}
if listener:
    adapter = listener.get_openlineage_listener().adapter
    found["client"], found["other"] = adapter._client is not None, other is not None
    if found["client"]:
        os.environ[sys.argv[1]] = sys.argv[2]
        adapter._client.emit(openlineage._make_event())
        later = set(sys.modules) - known
        found["later"] = sorted(name for name in later if "airfleet" in name or "openlineage" in name)
print(json.dumps(found))
"""


def load(tmp_path: Path, **settings: str) -> dict[str, object]:
    own = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    env = {**os.environ, **own, **{f"AIRFLOW__OPENLINEAGE__{name.upper()}": value for name, value in settings.items()}}
    command = [sys.executable, "-c", PROGRAM, environment.RECORDS, str(tmp_path / "records")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=COMMAND_S)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_task_finds_the_client_of_its_warm_process_and_writes_to_a_file_of_its_own(tmp_path: Path) -> None:
    found = load(tmp_path, disabled="False", transport=json.dumps({"type": TRANSPORT}))
    # Another transport may open connections, which no forks may share.
    assert found == {"loaded": True, "client": True, "other": False, "later": []}
    [written] = tmp_path.glob("records.*")
    [line] = written.read_text().splitlines()
    assert json.loads(line)["body"]["job"]["name"] == "warm", "the event of the warm process itself was not written"


def test_nothing_of_openlineage_is_imported_where_it_is_off(tmp_path: Path) -> None:
    assert load(tmp_path, disabled="True") == {"loaded": False}
