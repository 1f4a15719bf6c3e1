"""The base of an image: what nobody has signed is not installed, with a real debootstrap."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from airfleet.components.hosts.systems import SYSTEMS
from airfleet.errors import AirfleetError
from airfleet.operations.image import root_files
from airfleet.operations.image.root_files import RootBase
from deadline import COMMAND_S

DEBIAN = SYSTEMS["debian", "12"]
# The keys of the system are missing there, as on a machine of another system.
WITHOUT_KEYS = 'mount -t tmpfs none /usr/share/keyrings && exec "$@"'
APART = ("unshare", "--mount", "--propagation", "private", "sh", "-c", WITHOUT_KEYS, "sh")


def can_install_below(folder: Path) -> bool:
    """Return whether debootstrap works there. In a container, or where /tmp is mounted without devices, it does not."""
    if subprocess.run([*APART, "true"], capture_output=True, check=False, timeout=COMMAND_S).returncode:
        return False
    device = folder / "null"
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        device.write_text("x")
    except OSError:
        return False
    finally:
        device.unlink(missing_ok=True)
    return True


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """Return a mirror whose Release file has no signature. It has no packages either."""
    if os.geteuid() or not shutil.which("debootstrap") or not shutil.which("gpgv"):
        pytest.skip("it takes root, debootstrap and gpgv")
    if not can_install_below(tmp_path):
        pytest.skip(f"it takes a mount namespace, and device files below {tmp_path}")
    suite = tmp_path / "mirror" / "dists" / "bookworm"
    suite.mkdir(parents=True)
    (suite / "Release").write_text("Suite: stable\nCodename: bookworm\nComponents: main\nArchitectures: amd64\n")
    return tmp_path / "mirror"


PROGRAM = """\
import sys
from pathlib import Path
from airfleet.components.hosts.systems import SYSTEMS
from airfleet.operations.image import root_files
root_files._make_base(SYSTEMS["debian", "12"], Path(sys.argv[1]), root_files.RootBase(mirror=sys.argv[2]))
"""


def test_a_mirror_is_refused_where_nothing_can_check_who_signed_it(mirror: Path, tmp_path: Path) -> None:
    program = [sys.executable, "-c", PROGRAM, str(tmp_path / "root"), f"file://{mirror}"]
    done = subprocess.run([*APART, *program], capture_output=True, text=True, check=False, timeout=COMMAND_S)
    assert "Keyring-based check was requested" in done.stderr


def test_a_mirror_whose_keys_are_named_needs_their_signature(mirror: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.gpg").touch()
    base = RootBase(mirror=f"file://{mirror}", keyring=tmp_path / "empty.gpg")
    with pytest.raises(AirfleetError, match=r"debootstrap failed.*signature"):
        root_files._make_base(DEBIAN, tmp_path / "root", base)
