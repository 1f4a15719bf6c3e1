"""Secrets of one machine: none is shown to other users, and each can be rotated."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
import threading
from pathlib import Path

import amqp
import httpx
import psutil
import psycopg
import pytest
from sqlalchemy.engine import make_url

from airfleet.runners.local import launch
from deadline import wait_until
from fleets import SECRET, Platform

pytestmark = pytest.mark.local


class Watch:
    """Reads the arguments of every process of this machine as fast as it can."""

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


def log_in(platform: Platform, password: str) -> httpx.Response:
    url = f"http://127.0.0.1:{platform.port}/auth/token"
    return httpx.post(url, json={"username": "admin", "password": password}, timeout=60, trust_env=False)


def ask(platform: Platform, token: str) -> int:
    url = f"http://127.0.0.1:{platform.port}/api/v2/connections"
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(url, headers=headers, timeout=60, trust_env=False).status_code


def list_secrets(platform: Platform) -> dict[str, str]:
    """Every secret of the platform's own, and one that fleet.yaml refers to."""
    own = {path.name: path.read_text() for path in platform.state.secrets.iterdir() if path.is_file()}
    return {**own, "crm": SECRET}


def rotate(platform: Platform, file: Path) -> None:
    """What a platform does at its start and a scheduler host at an apply, here while all is up."""
    environment = launch.build_environment(os.environ, {}, platform.project, platform.state.root)
    command = [sys.executable, "-m", "airflow", "airfleet", "admin", "--username", "admin", "--password-file", file]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_the_admin_password_is_rotated_and_never_an_argument(platform: Platform) -> None:
    old = platform.password
    token = log_in(platform, old).json()["access_token"]
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
    assert log_in(platform, old).status_code == 401
    assert log_in(platform, new).status_code == 201
    # Airflow keeps users for 30 s.
    wait_until(lambda: ask(platform, token) in (401, 403), "the end of the former token", timeout_s=60, every_s=1)
    platform.token = ""
    assert platform.succeeds("quick")


def test_what_was_imported_is_not_left_in_clear(platform: Platform) -> None:
    found = [
        path
        for path in platform.state.root.rglob("*")
        if path.is_file() and "postgres" not in path.parts and SECRET.encode() in _read(path)
    ]
    assert found == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def refuses_login(platform: Platform, name: str, password: str, database: str) -> bool:
    dsn = (platform.state.secrets / "metadata_dsn").read_text()
    port = make_url(dsn).port
    try:
        psycopg.connect(
            host="127.0.0.1", port=port, user=name, password=password, dbname=database, connect_timeout=10
        ).close()
    except psycopg.OperationalError as error:
        return "password authentication failed" in str(error)
    return False


def refuses_broker(platform: Platform, password: str) -> bool:
    snapshot = platform.state.read_snapshot()
    assert snapshot
    [url] = [one.url for one in snapshot.processes if one.name == "rabbitmq"]
    address = url.removeprefix("amqp://")
    try:
        with amqp.Connection(
            host=address, userid="publisher", password=password, virtual_host="airflow", login_timeout=10
        ):
            return False
    except amqp.AccessRefused:
        return True


def test_every_secret_of_one_machine_can_be_rotated_at_once(celery: Platform) -> None:
    assert celery.succeeds("reads")
    secrets = celery.state.secrets
    celery.down()
    names = [
        *("admin_password", "postgres_superuser", "postgres_airflow", "postgres_warehouse", "postgres_results_writer"),
        *(
            "fernet_key",
            "jwt_secret",
            "secret_key",
            "broker_publisher",
            "broker_consumer",
            "broker_cookie",
            "signing_key",
        ),
    ]
    former = {name: (secrets / name).read_text() for name in names}
    for name in names:
        (secrets / name).unlink()
    celery.up()
    celery.wait_healthy()
    for name in names:
        assert (secrets / name).read_text() != former[name], name
    assert log_in(celery, former["admin_password"]).status_code == 401
    for login in ("airflow", "warehouse"):
        assert refuses_login(celery, login, former[f"postgres_{login}"], login), login
    former_writer = former["postgres_results_writer"]
    assert refuses_login(celery, "airfleet_results_writer", former_writer, "airfleet_results")
    assert refuses_login(celery, "postgres", former["postgres_superuser"], "postgres")
    assert refuses_broker(celery, former["broker_publisher"])
    # The connections were encrypted with the former key, and now are with the new one.
    assert celery.succeeds("reads")
    celery.down()
    celery.up()
    celery.wait_healthy()
    config = configparser.ConfigParser()
    config.read(celery.state.root / "airflow" / "airflow.cfg")
    assert config["core"]["fernet_key"] == (secrets / "fernet_key").read_text()
    assert celery.succeeds("reads")
