"""A Dag file is loaded in a process whose stdout and stderr are sockets, as those of a systemd service are."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from airfleet_provider.bundles import archive_client
from airfleet_provider.contract import release_archive
from deadline import PATIENCE_S

pytestmark = pytest.mark.local

DAG = """
import sys
from airflow.sdk import dag, task
print("said while loading")
print("complained while loading", file=sys.stderr)

@dag(schedule=None)
def small():
    @task
    def work(): ...
    work()

small()
"""
LEAKS = "import socket\nKEPT = socket.socketpair()\n" + DAG
LOAD = """
import json, sys
from pathlib import Path
from airfleet_provider.compat.patches import prefork
from airfleet_provider.task_runtime import zygote
from airfleet_provider.task_runtime.pool_key import PoolKey

prefork.import_modules()
log = prefork.prepare_log()
try:
    loaded = zygote.load(PoolKey(*json.loads(sys.argv[1])), log)
    said = {"dags": sorted(loaded.bag.dags), "stdout": loaded.stdout.decode(), "stderr": loaded.stderr.decode()}
except Exception as error:
    said = {"refused": zygote.describe_failure(error)}
Path(sys.argv[2]).write_text(json.dumps(said))
"""


@pytest.fixture
def downloads_of(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The address of a web host with one release, and the id of the release."""
    (tmp_path / "project" / "dags").mkdir(parents=True)
    (tmp_path / "project" / "dags" / "small.py").write_text(DAG)
    tree, contents = release_archive.read(tmp_path / "project")
    archive = release_archive.pack(tree, contents)

    class Downloads(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_known = self.path == f"{archive_client.PATH}/{tree.id}"
            self.send_response(200 if is_known else 404)
            self.end_headers()
            self.wfile.write(archive if is_known else b"")

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Downloads) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", tree.id
        server.shutdown()


def load(tmp_path: Path, bundle: dict[str, Any], version: str | None, path: str, **more: str) -> dict[str, Any]:
    """Load a Dag file in a process whose three standard streams are sockets, and return what the load reports."""
    answer = tmp_path / "answer.json"
    environment: dict[str, str] = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path / "home"),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle]),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(tmp_path / "bundles"),
        "AIRFLOW__API__SECRET_KEY": "the key of this platform",
        **more,
    }
    ours, theirs = socket.socketpair()
    with ours, theirs:
        file = theirs.fileno()
        command = [sys.executable, "-c", LOAD, json.dumps([bundle["name"], version, path]), str(answer)]
        done = subprocess.run(
            command, stdin=file, stdout=file, stderr=file, env=environment, check=False, timeout=PATIENCE_S
        )
        ours.setblocking(False)
        said = ours.recv(1 << 16).decode() if done.returncode else ""
    assert done.returncode == 0, said
    found: dict[str, Any] = json.loads(answer.read_text())
    return found


def test_streams_that_are_sockets_are_not_connections_of_the_dag_file(tmp_path: Path) -> None:
    (tmp_path / "project" / "dags").mkdir(parents=True)
    for name, text in (("small", DAG), ("leaks", LEAKS)):
        (tmp_path / "project" / "dags" / f"{name}.py").write_text(text)
    kwargs = {"path": str(tmp_path / "project")}
    bundle = {"name": "shop", "classpath": "airfleet_provider.bundles.folder_bundle.FolderBundle", "kwargs": kwargs}
    loaded = load(tmp_path, bundle, None, "dags/small.py")
    assert loaded == {
        "dags": ["small"],
        "stdout": "said while loading\n",
        "stderr": "complained while loading\n",
    }
    # What the Dag file does open is still seen.
    assert "2 connections" in load(tmp_path, bundle, None, "dags/leaks.py")["refused"]


def test_the_first_load_on_a_worker_fetches_its_release(tmp_path: Path, downloads_of: tuple[str, str]) -> None:
    address, release = downloads_of
    bundle = {"name": "shop", "classpath": "airfleet_provider.bundles.release_bundle.ReleaseBundle", "kwargs": {}}
    loaded = load(tmp_path, bundle, release, "dags/small.py", AIRFLEET_RELEASES=address)
    assert loaded.get("dags") == ["small"], loaded
