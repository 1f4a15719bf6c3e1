"""The self-test of logins on a host: its script runs the program of the api-server's packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from airfleet.operations import access_check
from airfleet.shell_script import render_script
from airfleet_provider.contract.directory import Directory, LdapSource
from deadline import COMMAND_S

QUESTION = {
    "directory": json.loads(
        Directory(
            LdapSource(("ldaps://localhost:1",), "cn=a,dc=x", "dc=x", "dc=x", bind_password="secret"), {}
        ).to_text()
    ),
    "user": "ann",
    "callback": "",
}


def run(unit: Path) -> subprocess.CompletedProcess[str]:
    words = {"UNIT": unit, "NOT_SET_UP": access_check.NOT_SET_UP, "PROGRAM": access_check.PROGRAM}
    script = render_script("airfleet.operations", "check_login", **words)
    assert "secret" not in script
    return subprocess.run(
        ["sh", "-c", script],
        input=json.dumps(QUESTION),
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="the script changes its user, and this is not root")
def test_the_script_asks_with_the_packages_of_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "airfleet-api-server.service"
    unit.write_text(f"[Service]\nUser=root\nExecStart={sys.executable} -m airfleet_provider.liveness\n")
    done = run(unit)
    assert done.returncode == 0, done.stderr
    assert "nothing listens there" in json.loads(done.stdout)[-1]["what"]


def test_a_host_without_an_api_server_is_told_apart(tmp_path: Path) -> None:
    assert run(tmp_path / "none").returncode == access_check.NOT_SET_UP
