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

import psutil

from deadline import COMMAND_S, PATIENCE_S, wait_until

CLONE_NEWNET = 0x40000000
_COMMANDS = ("unshare", "nsenter", "setpriv", "ip", "nft", "sysctl")
# What is started dies with this process, also if nobody lets it clean up. What that starts itself may stay.
_DIES = ("setpriv", "--pdeathsig", "KILL")
# What a kernel may lack.
_RULES = "add table inet t; add chain inet t c { type nat hook prerouting priority -100; }; add rule inet t c redirect"
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
    argv = ["unshare", "--net", "--mount", "sh", "-c", "ip tuntap add dev t0 mode tun && nft -f -"]
    tried = subprocess.run(argv, input=_RULES, capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"no network of its own can be made: {tried.stderr.strip()}"


class NetPlace:
    """A network and a /run of its own. Every process in it ends with it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self._holder = subprocess.Popen([*_DIES, "unshare", "--net", "--mount", "sleep", "infinity"])
        wait_until(self._is_apart, f"the network of {self.name}", every_s=0.01)
        self._network = _read_network(self.pid)
        self.run("mount", "-t", "tmpfs", "tmpfs", "/run")
        self.run("mkdir", "-p", "/run/sshd", "/run/wireguard")
        self.run("ip", "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        # Some have left the process that started them, such as what `wg-quick` starts.
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid != self.pid and _read_network(process.pid) == self._network:
                    process.kill()
        for own in (*self._started, self._holder):
            own.kill()
            own.wait(PATIENCE_S)

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
            process = subprocess.Popen([*_DIES, *self._enter(), *argv], stdout=file, stderr=file)
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
        # Both networks and mounts are made before it becomes `sleep`.
        is_ready = Path(f"/proc/{self.pid}/comm").read_text().strip() == "sleep"
        return is_ready and _read_network(self.pid) != _read_network(os.getpid())


def _read_network(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")  # noqa: PTH115 - its text is no path


def _set_network(descriptor: int) -> None:
    if _LIBC.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
