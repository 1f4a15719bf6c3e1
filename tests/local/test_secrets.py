"""Secrets of one machine: no other user sees one, and the password of the admin can be rotated while all runs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import psutil
import pytest

from airfleet.runners.local import inherited
from deadline import COMMAND_S, PATIENCE_S, wait_until
from fleets import SECRET, Platform

pytestmark = pytest.mark.local


class Watch:
    """Reads the arguments of every process of this machine, in a loop without a pause."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30)

    def _look(self) -> None:
        while not self._over.is_set():
            for process in psutil.process_iter():
                try:
                    self.seen.add("\0".join(process.cmdline()))
                except psutil.Error:
                    continue


def ask(platform: Platform, token: str) -> int:
    url = f"http://127.0.0.1:{platform.port}/api/v2/connections"
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(url, headers=headers, timeout=PATIENCE_S, trust_env=False).status_code


def list_secrets(platform: Platform) -> dict[str, str]:
    """Return the platform's own secrets, and one secret that fleet.yaml refers to."""
    own = {path.name: path.read_text() for path in platform.state.secrets.iterdir() if path.is_file()}
    return {**own, "crm": SECRET}


def rotate(platform: Platform, file: Path) -> None:
    """Run the admin job while the platform is up. A platform runs it at its start, a scheduler host at an apply."""
    environment = inherited.build_environment(os.environ, {}, platform.project, platform.state.root)
    command = [
        sys.executable,
        "-m",
        "airflow",
        "airfleet",
        "admin",
        "--username",
        "admin",
        "--password-file",
        str(file),
    ]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=COMMAND_S)
    assert done.returncode == 0, done.stderr


def test_the_admin_password_is_rotated_and_never_an_argument(platform: Platform) -> None:
    old = platform.password
    token = platform.log_in(old).json()["access_token"]
    assert ask(platform, token) == 200
    file = platform.state.secrets / "admin_password"
    new = "--a dash's first word"
    file.write_text(new)
    with Watch() as watch:
        rotate(platform, file)
    commands = [line for line in watch.seen if "airfleet\0admin" in line]
    assert commands, "the job ran too fast to be seen"
    for line in watch.seen:
        for name, secret in list_secrets(platform).items():
            assert secret not in line, name
    assert platform.log_in(old).status_code == 401
    assert platform.log_in(new).status_code == 201
    # Airflow keeps users for 30 s.
    wait_until(lambda: ask(platform, token) in (401, 403), "the end of the former token", every_s=1)
    platform.token = ""
    assert platform.succeeds("quick")


def test_what_was_imported_is_not_left_in_clear(platform: Platform) -> None:
    # Unlike a glob, a walk bears that a folder is removed meanwhile.
    files = (Path(folder) / name for folder, _, names in os.walk(platform.state.root) for name in names)
    mine = [path for path in files if path.is_file() and "postgres" not in path.parts]
    assert mine
    assert [path for path in mine if SECRET.encode() in _read(path)] == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
