"""One SSH connection to one host: pyinfra makes it, scripts go through it, always as root."""

from __future__ import annotations

import logging
import re
import shlex
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from airfleet.errors import AirfleetError
from airfleet.spec.topology import Host

CONNECT_S = 10
# A host that does not acknowledge for so long is gone, whatever TCP hopes.
DEAD_AFTER_MS = 20_000
CHUNK = 1 << 17
# Output that comes later than this after the end of its command is that of something else.
LEFT_OPEN_S = 1.0


log = logging.getLogger(__name__)


class HostError(AirfleetError):
    """Something that failed on one host; the others are not touched by it. `output` is all that it said."""

    def __init__(self, what: str, *, where: str = "", hint: str = "", output: str = "") -> None:
        super().__init__(what, where=where, hint=hint)
        self.output = output


@dataclass(frozen=True, slots=True)
class Output:
    """What a script said, and how it ended."""

    code: int
    out: str
    err: str


class Connection:
    """A host that scripts can be run on, from one thread at a time."""

    def __init__(self, host: Host, project: Path) -> None:
        self.host = host
        self._project = project
        self._client: Any = None
        self._become = ""

    def open(self) -> None:
        """Connect and become root; raises HostError with a hint."""
        self._client = _connect(self.host, self._project)
        transport = self._client.get_transport()
        transport.set_keepalive(5)
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER_MS)
        user = self._execute("id -u", None, 30)
        self._become = "" if user.out.strip() == "0" else "sudo -n "
        if self._become:
            tried = self._execute("sudo -n true", None, 30)
            if tried.code:
                reason = (tried.err.strip().splitlines() or ["sudo failed"])[-1].removeprefix("bash: line 1: ")
                raise HostError(
                    f"cannot become root: {reason}",
                    where=self.host.name,
                    hint="log in as root, or let the user run sudo without a password (NOPASSWD in /etc/sudoers.d)",
                )

    def run(self, script: str, *, timeout_s: float = 60, data: BinaryIO | None = None) -> Output:
        """Run a shell script as root; it comes over standard input, so that no secret shows among the processes.

        With `data`, that is what the script reads from its standard input.
        """
        limit = f"timeout -k 5 {timeout_s:g} "
        if data is None:
            # In braces, as a shell that is sent half a script would run the half.
            whole = f"{{\n{script}\n}}\n".encode()
            return self._execute(f"{self._become}{limit}sh -s", whole, timeout_s + 30)
        return self._execute(f"{self._become}{limit}sh -c {shlex.quote(script)}", data, timeout_s + 30)

    def check(self, script: str, *, timeout_s: float = 60, data: BinaryIO | None = None, what: str = "") -> str:
        """What the script said; raises HostError unless it ended well."""
        output = self.run(script, timeout_s=timeout_s, data=data)
        if output.code:
            raise _failure(output, what or "a command", self.host.name)
        return output.out

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _execute(self, command: str, data: bytes | BinaryIO | None, timeout_s: float) -> Output:
        import paramiko  # noqa: PLC0415

        try:
            channel = self._client.get_transport().open_session(timeout=CONNECT_S)
            channel.settimeout(timeout_s)
            channel.exec_command(command)
            feeder = threading.Thread(target=_feed, args=(channel, data), daemon=True)
            feeder.start()
            out, err = _read(channel, time.monotonic() + timeout_s)
            code = channel.recv_exit_status()
            channel.close()
            feeder.join(5)
        except (TimeoutError, OSError, EOFError, paramiko.SSHException, AttributeError) as error:
            hint = "look whether it is up; the next `airfleet apply` goes on from here"
            raise HostError(
                f"the connection broke: {error or type(error).__name__}", where=self.host.name, hint=hint
            ) from None
        if code < 0:
            hint = "look whether it restarted; the next `airfleet apply` goes on from here"
            raise HostError("the connection ended before the command did", where=self.host.name, hint=hint)
        return Output(code, out.decode(errors="replace"), err.decode(errors="replace"))

    @contextmanager
    def forward(self, address: str, port: int) -> Iterator[int]:
        """A port of this machine's loopback that leads to a port the host can reach."""
        listener = socket.create_server(("127.0.0.1", 0))
        leader = threading.Thread(target=_accept, args=(listener, self._client, address, port), daemon=True)
        leader.start()
        try:
            yield listener.getsockname()[1]
        finally:
            # Closed under its feet, it would go on with whoever gets the number of the file next: the next listener.
            listener.shutdown(socket.SHUT_RDWR)
            leader.join()
            listener.close()


def _failure(output: Output, what: str, host: str) -> HostError:
    text = (output.err.strip() or output.out).strip()
    told = find_telling(text) or f"exit code {output.code}"
    if output.code in (124, 137):
        told = f"it took too long; the last it said: {told}" if text else "it took too long"
    if sick := re.search(r"^(airfleet-\S+)\.service is not healthy", text, re.MULTILINE):
        cause = find_telling(text[sick.end() :].partition("\n")[2])
        return HostError(
            f"{sick[1]} is not healthy: {cause or 'it says nothing'}",
            where=host,
            hint=find_hint(cause, f"look there: journalctl -u {sick[1]}"),
            output=f"{output.out}{output.err}",
        )
    return HostError(f"{what} failed: {told}", where=host, hint=find_hint(text), output=f"{output.out}{output.err}")


HINTS = (
    ("No space left on device", "the disk is full: free some space, then apply again"),
    ("not enough free space", "the disk is full: free some space, then apply again"),
    ("Disk quota exceeded", "the disk is full: free some space, then apply again"),
    ("Read-only file system", "its disk lets nobody write: look at `dmesg` there"),
    ("Temporary failure resolving", "the host cannot resolve its package mirror: look at its DNS; or apply --offline"),
    ("Failed to fetch", "the package mirror does not answer: look at /etc/apt/sources.list; or apply --offline"),
    ("Unable to fetch", "the package mirror does not answer: look at /etc/apt/sources.list; or apply --offline"),
    ("Unable to locate package", "the package mirror does not have it: look at /etc/apt/sources.list (main, universe)"),
    ("has no installation candidate", "the package mirror does not have it: look at /etc/apt/sources.list"),
    ("Could not get lock", "another program installs packages there: wait for it to end, then apply again"),
    ("frontend lock was locked", "another program installs packages there: wait for it to end, then apply again"),
    ("ddress already in use", "another program has the port: stop it, then apply again"),
    ("an earlier apply began", "wait for it to end, or restart the host; then apply again"),
)
# What says least is said last by many programs.
NOISE = ("Note: ", "E: Sub-process", "E: Some index files failed", "W: ", "See ", "and the entire system.")


def find_telling(text: str) -> str:
    """The one line of a failed command's output that says the most: the cause, or else the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(NOISE)] or lines
    known = [line for words, _ in HINTS for line in lines if words in line]
    errors = [line for line in lines if line.startswith(("E: ", "error: ", "dpkg: error"))]
    return next(iter([*known, *errors, *reversed(lines)]), "")[:300]


def find_hint(text: str, otherwise: str = "mend it there; the next `airfleet apply` goes on from here") -> str:
    """What to do about the output of a command that failed."""
    return next((hint for words, hint in HINTS if words in text), otherwise)


def _feed(channel: Any, data: bytes | BinaryIO | None) -> None:  # noqa: ANN401
    try:
        if isinstance(data, bytes):
            channel.sendall(data)
        elif data is not None:
            while chunk := data.read(CHUNK):
                channel.sendall(chunk)
        channel.shutdown_write()
    except OSError:
        return  # the reader tells what went wrong


def _read(channel: Any, end: float) -> tuple[bytes, bytes]:  # noqa: ANN401
    """Everything from both streams; waits for the end of the command, and not for what it left running."""
    out, err = bytearray(), bytearray()
    ended = None
    while True:
        # Asked before the streams are: what came ahead of it is then there to be read.
        is_whole = channel.eof_received or channel.closed
        busy = False
        while channel.recv_ready():
            out += channel.recv(1 << 16)
            busy = True
        while channel.recv_stderr_ready():
            err += channel.recv_stderr(1 << 16)
            busy = True
        if busy:
            continue
        now = time.monotonic()
        if channel.exit_status_ready():
            # The exit code may overtake the last of the output; a child that was left running holds it open for ever.
            ended = ended or now
            if is_whole or now - ended > LEFT_OPEN_S:
                return bytes(out), bytes(err)
        elif channel.closed or not channel.get_transport().is_active():
            raise EOFError("the host closed it")
        if now > end:
            raise TimeoutError("no answer in time")
        time.sleep(0.02)


def _accept(listener: socket.socket, client: Any, address: str, port: int) -> None:  # noqa: ANN401
    """Lead each connection on; one that the host refuses ends, and the next is led on all the same."""
    while True:
        try:
            local, peer = listener.accept()
        except OSError:  # the listener was shut down
            return
        try:
            channel = client.get_transport().open_channel("direct-tcpip", (address, port), peer, timeout=CONNECT_S)
        except Exception as error:  # paramiko's errors have no common base; who has connected sees the connection end
            log.warning("a connection to %s:%d was not led on: %s", address, port, error or type(error).__name__)
            local.close()
            continue
        for source, target in ((local, channel), (channel, local)):
            threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _pump(source: Any, target: Any) -> None:  # noqa: ANN401
    try:
        while chunk := source.recv(CHUNK):
            target.sendall(chunk)
    except (OSError, EOFError):  # paramiko says EOFError where the whole session has ended
        pass
    finally:
        for end in (source, target):
            with suppress(OSError, EOFError):
                end.close()


def _connect(host: Host, project: Path) -> Any:  # noqa: ANN401
    import paramiko  # noqa: PLC0415
    from pyinfra.api.config import Config  # noqa: PLC0415
    from pyinfra.api.exceptions import ConnectError, PyinfraError  # noqa: PLC0415
    from pyinfra.api.inventory import Inventory  # noqa: PLC0415
    from pyinfra.api.state import State  # noqa: PLC0415

    for name in ("pyinfra", "paramiko"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    data: dict[str, object] = {"ssh_hostname": host.address}
    if host.ssh.user:
        data["ssh_user"] = host.ssh.user
    if host.ssh.port:
        data["ssh_port"] = host.ssh.port
    if host.ssh.known_hosts:
        data["ssh_known_hosts_file"] = str(project / Path(host.ssh.known_hosts).expanduser())
    if host.ssh.key:
        key = project / Path(host.ssh.key).expanduser()
        if not key.is_file():
            raise HostError(f"no such key file: {key}", where=host.name, hint="`ssh.key` in fleet.yaml names it")
        data["ssh_key"] = str(key)
    inventory: Any = Inventory(([(host.name, data)], {}))  # type: ignore[no-untyped-call]
    State(inventory, Config(CONNECT_TIMEOUT=CONNECT_S))  # type: ignore[no-untyped-call]
    connector = inventory.get_host(host.name).connector
    try:
        connector.connect()
    except (ConnectError, PyinfraError, paramiko.SSHException, OSError, EOFError) as error:
        what, hint = explain_connect(str(error), host)
        raise HostError(what, where=host.name, hint=hint) from None
    return connector.client


def explain_connect(reason: str, host: Host) -> tuple[str, str]:
    """A failed connection in one line, and what to look at."""
    where = host.address if host.ssh.port is None else f"{host.address}:{host.ssh.port}"
    if "Authentication" in reason or "authentication" in reason:
        user = f" as {host.ssh.user}" if host.ssh.user else ""
        return (
            f"the host refuses the login{user}",
            "name the right `user` and `ssh.key`, or add the key there: ssh-copy-id",
        )
    if "host key" in reason.lower():
        return (
            f"the host key of {where} is not the known one",
            f"if it was installed anew: ssh-keygen -R {host.address}",
        )
    if "private key file" in reason.lower():
        locked = "is encrypted" in reason
        return (
            f"the key {host.ssh.key} {'has a passphrase' if locked else 'is no private key'}",
            "add it to ssh-agent and leave out `ssh.key`" if locked else "name the private key, without .pub",
        )
    if "resolve" in reason:
        return f"{host.address} cannot be resolved", "write its IP address in fleet.yaml, or add it to DNS"
    silent = ("timed out", "banner", "No existing session")
    told = "" if any(words in reason for words in silent) else f": {reason}"
    return f"{where} does not answer to SSH{told}", "look whether it is up, and whether its SSH port lets you in"
