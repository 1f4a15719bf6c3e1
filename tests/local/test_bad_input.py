"""Mistakes before a platform starts: one message with a hint, the right exit code, and no partial state."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from airfleet.runners.local import launch, ports
from airfleet.workspace import airflow_version
from airfleet.workspace.project import find_state
from airfleet.workspace.state_folder import LAYOUT
from deadline import PATIENCE_S
from fleets import Platform

pytestmark = pytest.mark.local

# Runs a command that sees one file in place of another; nobody else does.
IN_PLACE = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'


@pytest.fixture
def project() -> Iterator[Path]:
    """A project without a platform, in a folder that the user of PostgreSQL may enter, unlike pytest's own folders."""
    with tempfile.TemporaryDirectory(prefix="airfleet-test-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        project = Path(folder) / "project"
        (project / "dags").mkdir(parents=True)
        (project / "fleet.yaml").write_text(f"ports: {{api: {ports.find_free()}}}\n")
        yield project


def refused(project: Path, code: int, *words: str, command: tuple[str, ...] = ("up",), said: str) -> str:
    """Return stderr of an `airfleet` command that exits with this code and a hint, and leaves no process."""
    platform = Platform(project, port=0)
    done = platform.airfleet(*command, *words, check=False)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    if (project / ".airfleet").is_dir():
        assert not platform.is_up()
        assert platform.processes() == []
    return done.stderr


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Mount a small file system at the folder; skip the test if mounts are not allowed."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("detach", [(), ("--detach",)], ids=["foreground", "detached"])
def test_no_such_project(project: Path, detach: tuple[str, ...]) -> None:
    refused(project, 2, "none", *detach, said="airfleet: none: no such project folder")


@pytest.mark.parametrize("detach", [(), ("--detach",)], ids=["foreground", "detached"])
def test_no_dags_folder(project: Path, detach: tuple[str, ...]) -> None:
    (project / "dags").rmdir()
    refused(project, 2, *detach, said="no dags/ folder")
    assert not (project / ".airfleet").exists()


@pytest.mark.parametrize("detach", [(), ("--detach",)], ids=["foreground", "detached"])
def test_a_broken_fleet_yaml(project: Path, detach: tuple[str, ...]) -> None:
    (project / "fleet.yaml").write_text("name: UPPER\nports: {api: 80}\nprallelism: 4\n")
    said = refused(project, 2, *detach, said="3 problems")
    for line, words in ((1, "name"), (2, "ports.api"), (3, "prallelism")):
        assert f"fleet.yaml:{line}: {words}" in said
    assert not (project / ".airfleet" / "instance.json").exists()
    assert not (project / ".airfleet" / "postgres").exists()


@pytest.mark.parametrize("detach", [(), ("--detach",)], ids=["foreground", "detached"])
def test_a_taken_port(project: Path, detach: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        said = refused(project, 1, "--port", str(port), *detach, said=f"port {port} is taken by")
        assert f"(pid {os.getpid()})" in said
    find_state(project, None).check_instance(airflow=airflow_version.find_installed(), postgres="18")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layout": LAYOUT + 1}, "made by another airfleet"),
        ({"postgres": "17"}, "holds data of PostgreSQL 17"),
        ({"airflow": "99.0.0"}, "was used by Airflow 99.0.0, newer than the installed"),
    ],
)
def test_a_state_folder_that_does_not_fit(project: Path, changes: dict[str, object], said: str) -> None:
    body = {"layout": LAYOUT, "instance": "abc", "airflow": "3.3.2", "postgres": "18", **changes}
    (project / ".airfleet").mkdir()
    file = project / ".airfleet" / "instance.json"
    file.write_text(json.dumps(body))
    assert "instance.json" in refused(project, 1, said=said)
    assert json.loads(file.read_text()) == body
    assert not (project / ".airfleet" / "postgres").exists()


@pytest.mark.parametrize("name", [".airfleet", ".airfleet/secrets"])
def test_a_file_in_place_of_the_state_folder(project: Path, name: str) -> None:
    (project / name).parent.mkdir(exist_ok=True)
    (project / name).write_text("in the way")
    assert "--state" in refused(project, 1, said="cannot write the state folder")
    assert (project / name).read_text() == "in the way"


def test_a_read_only_state_folder(project: Path) -> None:
    with mounted(project / "disk", "-t", "tmpfs", "-o", "ro,size=10m", "tmpfs"):
        said = refused(project, 1, "--state", "disk/state", said="cannot write the state folder: Read-only file system")
        assert "--state" in said


def test_a_disk_with_too_little_space(project: Path) -> None:
    with mounted(project / "disk", "-t", "tmpfs", "-o", "size=20m", "tmpfs"):
        refused(project, 1, "--state", "disk/state", said="MiB are free on this disk")
        assert not (project / "disk" / "state" / "postgres").exists()


def test_a_full_disk(project: Path) -> None:
    with mounted(project / "disk", "-t", "tmpfs", "-o", "size=1m", "tmpfs"):
        with contextlib.suppress(OSError), (project / "disk" / "ballast").open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        refused(project, 1, "--state", "disk/state", said="No space left on device")


def test_a_missing_secret(project: Path) -> None:
    with (project / "fleet.yaml").open("a") as file:
        file.write("variables: {token: {env: NOT_SET_ANYWHERE}}\n")
    refused(project, 2, said="NOT_SET_ANYWHERE is not set")


def test_a_missing_c_library(project: Path) -> None:
    # Python needs every library that the server needs, so the server says what the loader would make it say.
    fake = project / "postgres"
    words = "postgres: error while loading shared libraries: libz.so.1: cannot open shared object file"
    fake.write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 127\n")
    fake.chmod(0o755)
    server = str(launch.find_postgres() / "postgres")
    airfleet = (sys.executable, "-m", "airfleet", "up")
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", IN_PLACE, "sh", str(fake), server, *airfleet],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    if done.stderr.startswith(("unshare:", "mount:")):
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
    assert done.returncode == 1
    assert "cannot run PostgreSQL" in done.stderr
    assert "hint: a C library is missing: install the package that has libz.so.1" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / ".airfleet" / "postgres").exists()
