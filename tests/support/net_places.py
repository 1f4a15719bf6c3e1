"""Machines that are no more than a network and a /run of their own on this machine. They end with their process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from deadline import COMMAND_S, PATIENCE_S, wait_until

CLONE_NEWNET = 0x40000000
_COMMANDS = ("unshare", "nsenter", "ip", "nft", "sysctl")
_LIBC = ctypes.CDLL(None, use_errno=True)


def why_not(*more: str) -> str:
    """Return why no such machine can be made here, or which of `more` commands is missing, or an empty text."""
    if os.geteuid():
        return "networks of their own take root"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    if missing := [name for name in (*_COMMANDS, *more) if not shutil.which(name, path=path)]:
        return f"not installed: {', '.join(missing)}"
    if not Path("/dev/net/tun").exists():
        return "there is no /dev/net/tun"
    tried = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else f"no network of its own can be made: {tried.stderr.decode().strip()}"


class NetPlace:
    """A network and a /run of its own. What `start` started ends with it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self._holder = subprocess.Popen(["unshare", "--net", "--mount", "sleep", "infinity"])
        wait_until(self._is_apart, f"the network of {self.name}", every_s=0.01)
        self.run("mount", "-t", "tmpfs", "tmpfs", "/run")
        self.run("mkdir", "-p", "/run/sshd", "/run/wireguard")
        self.run("ip", "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*reversed(self._started), self._holder):
            process.kill()
            process.wait(PATIENCE_S)

    @property
    def pid(self) -> int:
        """The process by which the kernel finds the network."""
        return self._holder.pid

    def run(self, *argv: str, text: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command here."""
        done = subprocess.run(
            [*self._enter(), *argv], input=text, capture_output=True, text=True, check=False, timeout=COMMAND_S
        )
        assert not check or done.returncode == 0, f"{self.name}: {argv}: {done.stdout}{done.stderr}"
        return done

    def start(self, *argv: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a process here, which writes to `log`."""
        with log.open("w") as file:
            process = subprocess.Popen([*self._enter(), *argv], stdout=file, stderr=file)
        self._started.append(process)
        return process

    @contextlib.contextmanager
    def enter(self) -> Iterator[None]:
        """Let this thread open its sockets here."""
        with open("/proc/thread-self/ns/net") as back, open(f"/proc/{self.pid}/ns/net") as there:  # noqa: PTH123 - descriptors
            _set_network(there.fileno())
            try:
                yield
            finally:
                _set_network(back.fileno())

    def join(self, other: NetPlace, own: tuple[str, str], its: tuple[str, str]) -> None:
        """Lay a cable to another one. Each end is an interface and its address."""
        self.run("ip", "link", "add", own[0], "type", "veth", "peer", "name", its[0], "netns", str(other.pid))
        for place, (interface, address) in ((self, own), (other, its)):
            place.run("ip", "address", "add", address, "dev", interface)
            place.run("ip", "link", "set", interface, "up")

    def _enter(self) -> list[str]:
        return ["nsenter", f"--target={self.pid}", "--net", "--mount", "--"]

    def _is_apart(self) -> bool:
        process = Path(f"/proc/{self.pid}")
        apart = (process / "ns/net").readlink() != Path("/proc/self/ns/net").readlink()
        # Both networks and mounts are made before it becomes `sleep`.
        return apart and (process / "comm").read_text().strip() == "sleep"


def _set_network(descriptor: int) -> None:
    if _LIBC.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
