"""Supervisors that are forked from one process load the certificates of the whole world once, and their own each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import certifi
import pytest

from deadline import COMMAND_S

CODE = """
import json, os, ssl
from airflow.sdk.api import client
from airfleet_provider.compat.calls import task_client

made, original = [], ssl.create_default_context

def create(*arguments, **options):
    made.append(os.getpid())
    return original(*arguments, **options)

ssl.create_default_context = create
task_client.keep_parts()
kept = len(made)
client.Client(base_url="http://localhost", token="").close()
print(json.dumps({"kept": kept, "all": len(made)}))
"""


@pytest.mark.parametrize(("own", "kept"), [("", 1), (certifi.where(), 0)], ids=["of the world", "one's own"])
def test_certificates_are_loaded_once_before_the_fork_unless_they_are_ones_own(
    tmp_path: Path, own: str, kept: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__API__SSL_CERT": own},
        capture_output=True,
        text=True,
        check=True,
        timeout=COMMAND_S,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["kept"], told["all"]) == (kept, 1)


@pytest.mark.parametrize("variable", ["all_proxy=socks://localhost:1", "no_proxy=::1/128"])
def test_settings_that_forbid_any_client_end_no_process(tmp_path: Path, variable: str) -> None:
    """A desktop may set them. Each task then fails with this reason, and the platform must start to show that."""
    name, _, value = variable.partition("=")
    code = """
from airflow.sdk.api.client import Client
from airfleet_provider.compat.calls import task_client

task_client.keep_parts()
try:
    Client(base_url="http://localhost", token="")
except Exception:
    print("refused")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path), name: value},
        capture_output=True,
        text=True,
        check=True,
        timeout=COMMAND_S,
    )
    assert done.stdout.splitlines()[-1] == "refused", f"httpx takes {variable} now"
