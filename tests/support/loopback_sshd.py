"""OpenSSH's server on the loopback, for tests of connections to hosts that need neither root nor a bed."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from airfleet.runners.local import ports
from deadline import PATIENCE_S, wait_until

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
USER = getpass.getuser()


def why_not() -> str:
    """Return why no server can run here, or an empty text if one can."""
    return "" if SSHD and shutil.which("ssh-keygen") else "there is no sshd on this machine (Debian: openssh-server)"


@dataclass(frozen=True)
class Server:
    """A running server: its port, its public key as in a line of known_hosts, and the client's private key."""

    port: int
    public_key: str
    client_key: Path
    folder: Path

    @property
    def known(self) -> str:
        return f"[127.0.0.1]:{self.port} {self.public_key}\n"

    def read_log(self) -> str:
        return (self.folder / "log").read_text()


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> str:
    """Make a key pair and return its public key as `type base64`."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", str(path)], check=True)
    return " ".join(path.with_name(f"{path.name}.pub").read_text().split()[:2])


@contextmanager
def serve(folder: Path, *lines: str) -> Iterator[Server]:
    """Run a server that accepts the client's key, with these additional lines of sshd_config."""
    folder.mkdir(exist_ok=True)
    public = make_key(folder / "host_key")
    client = make_key(folder / "client_key")
    (folder / "authorized").write_text(f"{client}\n")
    port = ports.find_free()
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it gives up its rights
    config = (
        *lines,
        f"ListenAddress 127.0.0.1:{port}",
        f"HostKey {folder / 'host_key'}",
        f"AuthorizedKeysFile {folder / 'authorized'}",
        f"PidFile {folder / 'pid'}",
        "StrictModes no",
        "UsePAM no",
        "PasswordAuthentication no",
        "PermitRootLogin prohibit-password",
        "LogLevel VERBOSE",
    )
    (folder / "config").write_text("\n".join([*config, ""]))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([str(SSHD), "-D", "-e", "-f", str(folder / "config")], stderr=log)
    try:
        wait_until(lambda: "Server listening" in (folder / "log").read_text(), "sshd listens")
        yield Server(port, public, folder / "client_key", folder)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
