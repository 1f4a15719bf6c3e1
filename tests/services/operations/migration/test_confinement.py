"""The process that reads Airflow 2's database reaches that database and no network, tried on this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from airfleet.operations.backup.embedded.cluster import as_server_user
from airfleet.operations.migration import confinement
from airfleet.operations.migration.confinement import ProcessConfinement

# The port of a server on this machine, and the path of a Unix socket.
PROGRAM = """\
import os, socket, sys
def reach(kind, address):
    with socket.socket(kind) as one:
        try:
            one.connect(address)
        except OSError:
            return "no"
        return "yes"
print(reach(socket.AF_INET, ("127.0.0.1", int(sys.argv[1]))), reach(socket.AF_UNIX, sys.argv[2]), os.geteuid())
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a folder that every user can enter."""
    with tempfile.TemporaryDirectory(prefix="airfleet-") as made:
        folder = Path(made)
        folder.chmod(0o777)
        yield folder


def look(confined: ProcessConfinement, place: Path) -> tuple[str, str, int]:
    """Return whether a confined process reaches a server on this machine, one on a Unix socket, and its user."""
    with socket.socket() as server, socket.socket(socket.AF_UNIX) as local:
        server.bind(("127.0.0.1", 0))
        server.listen()
        local.bind(str(place / "socket"))
        (place / "socket").chmod(0o777)
        local.listen()
        words = [*confined.words, sys.executable, "-I", "-c", PROGRAM]
        done = subprocess.run(
            [*words, str(server.getsockname()[1]), str(place / "socket")],
            cwd=place,
            env={},
            capture_output=True,
            text=True,
            check=True,
            **confined.arguments,
        )
    tcp, unix, user = done.stdout.split()
    return tcp, unix, int(user)


def test_it_reaches_its_database_and_no_network_and_is_not_root(place: Path) -> None:
    confined = confinement.confine(Path(sys.executable), place, place)
    if confined.remains:
        pytest.skip(" ".join(confined.remains))
    tcp, unix, user = look(confined, place)
    assert (tcp, unix) == ("no", "yes")
    assert user != 0


def test_what_remains_is_said_where_there_is_no_unshare(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    confined = confinement.confine(Path(sys.executable), place, place)
    assert "this machine's network" in confined.remains[0]
    tcp, unix, user = look(confined, place)
    assert (tcp, unix) == ("yes", "yes")
    # Another user than root all the same, or the report says so.
    assert (user == 0) == any("as root" in one for one in confined.remains)


def test_a_python_in_a_closed_folder_runs_as_another_user_who_sees_nothing_beside_it(place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has files that no other user can read")
    closed = place / "closed"
    (closed / "bin").mkdir(parents=True)
    closed.chmod(0o700)
    (closed / "key").write_text("secret")
    (closed / "key").chmod(0o644)
    python = closed / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    # As the folder of a rehearsal is: only that user may enter it.
    home = place / "rehearsal" / "home"
    home.mkdir(parents=True)
    other = as_server_user()
    os.chown(home.parent, other["user"], other["group"])
    home.parent.chmod(0o700)
    confined = confinement.confine(python, home, place)
    if confined.remains:
        pytest.skip(" ".join(confined.remains))
    words = [*confined.words, "/bin/sh", "-c", f"id -u; ls {closed}"]
    done = subprocess.run(words, cwd=home, capture_output=True, text=True, check=True, **confined.arguments)
    user, *seen = done.stdout.split()
    assert user != "0"
    assert seen == ["bin"]
    # Nothing of it is left for others.
    assert (closed / "key").read_text() == "secret"
    assert not os.path.ismount(closed)


def test_a_python_that_only_root_can_run_is_said(place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has files that no other user can read")
    python = place / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o700)
    confined = confinement.confine(python, place, place)
    assert [str(python) in one for one in confined.remains if "as root" in one] == [True]
    # A container may forbid the namespace too, and then the report says that as well.
    has_network = any("network" in one for one in confined.remains)
    assert look(confined, place)[0] == ("yes" if has_network else "no")


def test_a_path_that_is_too_long_for_a_socket_is_no_reason_to_fail(place: Path) -> None:
    long = place / ("x" * 90)
    assert confinement.fits(place)
    assert not confinement.fits(long)
    confined = confinement.confine(Path(sys.executable), place, None)
    assert "too long" in confined.remains[0]
