"""One SSH connection to one host (ADR 11). It runs scripts as root, and forwards ports that the host can reach."""

from __future__ import annotations

import logging
import os
import re
import shlex
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from airfleet.errors import AirfleetError
from airfleet.runners.fleet.transport.login import CONNECT_S, HostKeyPolicy, HostLogin, Welcome, open_login
from airfleet.spec.topology import Host
from airfleet_provider.contract.text import one_line

# Behind a jump host, TCP does not notice that the host is gone. So the host must answer a request every 5 s, and
# counts as gone after 60 s: a slow line may be full for some seconds.
ASK_EVERY_S = 5.0
DEAD_AFTER_S = 60.0
CHUNK = 1 << 17
# Seconds after the end of a command in which its output is still read. Later output is of a process that it left.
LEFT_OPEN_S = 1.0


log = logging.getLogger(__name__)
# A script prefixes the name of an unhealthy service with this text. The service's journal follows.
UNHEALTHY = "@@airfleet unhealthy@@"


class HostError(AirfleetError):
    """A failure on one host, which does not affect others. `output` is the whole output of the command."""

    def __init__(self, what: str, *, where: str = "", hint: str = "", output: str = "") -> None:
        super().__init__(what, where=where, hint=hint)
        self.output = output


@dataclass(frozen=True, slots=True)
class Output:
    """The exit code and the output of a script."""

    code: int
    out: str
    err: str


class HostConnection:
    """A connection that runs scripts on a host. Several threads may use it at once.

    An unknown host key is accepted only if `welcome` is given, which is then called with a message. `config` replaces
    the user's and the system's SSH configuration.
    """

    def __init__(
        self, host: Host, project: Path, *, welcome: Welcome | None = None, config: Path | None = None
    ) -> None:
        self.host = host
        self.ssh_port: int | None = None  # where its SSH server was reached, as the host itself sees it
        self.client = ""  # the address from which this machine reached it, as the host itself sees it
        self._project = project
        self._policy = HostKeyPolicy(welcome=welcome, config=config)
        self._login: HostLogin | None = None
        self._become = ""

    def open(self) -> None:
        """Connect and become root.

        Raises:
            HostError: The host does not answer, refuses the login, or does not allow root.
        """
        try:
            self._login = open_login(self.host, self._project, self._policy)
        except AirfleetError as error:
            what = f"{error.where}: {error.what}" if error.where else error.what
            raise HostError(what, where=self.host.name, hint=error.hint) from None
        threading.Thread(target=_keep_asking, args=(self._login.transport,), daemon=True).start()
        said = self._execute("id -u; echo $SSH_CONNECTION", None, 30).out.split()
        self.ssh_port = int(said[4]) if len(said) == 5 and said[4].isdigit() else None
        self.client = said[1] if self.ssh_port else ""
        self._become = "" if said[:1] == ["0"] else "sudo -n "
        if self._become:
            tried = self._execute("sudo -n true", None, 30)
            if tried.code:
                reason = (tried.err.strip().splitlines() or ["sudo failed"])[-1].removeprefix("bash: line 1: ")
                raise HostError(
                    f"cannot become root: {reason}",
                    where=self.host.name,
                    hint="log in as root, or let the user run sudo without a password (NOPASSWD in /etc/sudoers.d)",
                )

    def make_another(self) -> HostConnection:
        """Return another connection to the same host, which is not open yet."""
        return HostConnection(self.host, self._project, welcome=self._policy.welcome, config=self._policy.config)

    def run(self, script: str, *, timeout_s: float = 60, data: BinaryIO | None = None) -> Output:
        """Run a shell script as root, for `timeout_s` seconds at most.

        The script goes through standard input, so that no secret is in the arguments of a process. With `data`, the
        script reads `data` from its standard input, and is itself an argument: then it must hold no secret.

        Raises:
            HostError: The connection breaks.
        """
        limit = f"timeout -k 5 {timeout_s:g} "
        if data is None:
            # Without braces, a shell that receives only half of a script would run that half.
            whole = f"{{\n{script}\n}}\n".encode()
            return self._execute(f"{self._become}{limit}sh -s", whole, timeout_s + 30)
        return self._execute(f"{self._become}{limit}sh -c {shlex.quote(script)}", data, timeout_s + 30)

    def check(self, script: str, *, timeout_s: float = 60, data: BinaryIO | None = None, what: str = "") -> str:
        """Run a script and return its output. `what` names the script in errors.

        Raises:
            HostError: The connection breaks, or the script fails.
        """
        output = self.run(script, timeout_s=timeout_s, data=data)
        if output.code:
            raise _failure(output, what or "a command", self.host.name)
        return output.out

    def start(self, script: str, *, terminal: os.terminal_size | None = None) -> Any:  # noqa: ANN401
        """Start a script as root and return its open channel. With `terminal`, it has a terminal of that size.

        The script is an argument of a process on the host, so it must hold no secret.

        Raises:
            HostError: The connection breaks.
        """
        import paramiko  # noqa: PLC0415

        try:
            channel = self._transport.open_session(timeout=CONNECT_S)
            if terminal:
                channel.get_pty(os.environ.get("TERM", "vt100"), terminal.columns, terminal.lines)
            channel.exec_command(os.fsencode(f"{self._become}sh -c {shlex.quote(script)}"))
        except (OSError, EOFError, paramiko.SSHException) as error:
            what = f"the connection broke: {error or type(error).__name__}"
            raise HostError(what, where=self.host.name, hint="check that it is up") from None
        return channel

    def close(self) -> None:
        if self._login is not None:
            self._login.close()

    @property
    def _transport(self) -> Any:  # noqa: ANN401
        if self._login is None:
            raise EOFError("it is not open")
        return self._login.transport

    def _execute(self, command: str, data: bytes | BinaryIO | None, timeout_s: float) -> Output:
        import paramiko  # noqa: PLC0415

        try:
            channel = self._transport.open_session(timeout=CONNECT_S)
            channel.settimeout(timeout_s)
            channel.exec_command(command)
            feeder = threading.Thread(target=_feed, args=(channel, data), daemon=True)
            feeder.start()
            out, err = _read(channel, time.monotonic() + timeout_s)
            code = channel.recv_exit_status()
            channel.close()
            feeder.join(5)
        except (TimeoutError, OSError, EOFError, paramiko.SSHException) as error:
            hint = "check that it is up, then run the command again: it continues from here"
            raise HostError(
                f"the connection broke: {error or type(error).__name__}", where=self.host.name, hint=hint
            ) from None
        if code < 0:
            hint = "check whether it restarted, then run the command again: it continues from here"
            raise HostError("the connection ended before the command did", where=self.host.name, hint=hint)
        return Output(code, out.decode(errors="replace"), err.decode(errors="replace"))

    @contextmanager
    def forward(self, address: str, port: int) -> Iterator[int]:
        """Yield a port of this machine's loopback that leads to an address and port that the host can reach."""
        listener = socket.create_server(("127.0.0.1", 0))
        leader = threading.Thread(target=_accept, args=(listener, self._transport, address, port), daemon=True)
        leader.start()
        try:
            yield listener.getsockname()[1]
        finally:
            # If the listener were only closed, its thread would use the next file with the same number.
            listener.shutdown(socket.SHUT_RDWR)
            leader.join()
            listener.close()


def _failure(output: Output, what: str, host: str) -> HostError:
    text = (output.err.strip() or output.out).strip()
    told = find_telling(text) or f"exit code {output.code}"
    if output.code in (124, 137):
        told = f"it took too long; its last output: {told}" if text else "it took too long"
    if sick := re.search(rf"^{UNHEALTHY} (airfleet-\S+)\.service( \([^\n)]*\))?$", text, re.MULTILINE):
        cause = find_telling(text[sick.end() :])
        return HostError(
            f"{sick[1]}{sick[2] or ''} is not healthy: {cause or 'its log is empty'}",
            where=host,
            hint=find_hint(
                cause, f"its log shows why: airfleet logs {sick[1].removeprefix('airfleet-')} --host {host}"
            ),
            output=f"{output.out}{output.err}",
        )
    return HostError(f"{what} failed: {told}", where=host, hint=find_hint(text), output=f"{output.out}{output.err}")


HINTS = (
    ("No space left on device", "the disk is full: free some space, then run the command again"),
    ("not enough free space", "the disk is full: free some space, then run the command again"),
    ("Disk quota exceeded", "the disk is full: free some space, then run the command again"),
    ("Read-only file system", "its disk is read-only: check `dmesg` on the host"),
    ("Temporary failure resolving", "the host cannot resolve its package mirror: check its DNS; or apply --offline"),
    ("Failed to fetch", "the package mirror does not answer: check /etc/apt/sources.list; or apply --offline"),
    ("Unable to fetch", "the package mirror does not answer: check /etc/apt/sources.list; or apply --offline"),
    ("Unable to locate package", "the package mirror lacks it: check /etc/apt/sources.list (main, universe)"),
    ("has no installation candidate", "the package mirror lacks it: check /etc/apt/sources.list"),
    (
        "Could not get lock",
        "another program installs packages there: wait for it to end, then run the command again",
    ),
    (
        "frontend lock was locked",
        "another program installs packages there: wait for it to end, then run the command again",
    ),
    ("ddress already in use", "another program has the port: stop it, then run the command again"),
    ("an earlier apply began", "wait for it to end, or restart the host; then run the command again"),
)
# Many programs end their output with lines that do not help.
NOISE = ("Note: ", "E: Sub-process", "E: Some index files failed", "W: ", "See ", "and the entire system.")


def find_telling(text: str) -> str:
    """Return the most helpful line of a failed command's output: a known cause, an error, or else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(NOISE)] or lines
    known = [line for words, _ in HINTS for line in lines if words in line]
    errors = [line for line in lines if line.startswith(("E: ", "error: ", "dpkg: error"))]
    # The journal of a worker contains text of tasks, so the line is escaped.
    return one_line(next(iter([*known, *errors, *reversed(lines)]), ""))


def find_hint(text: str, otherwise: str = "fix it there, then run the command again: it continues from here") -> str:
    """Return a hint for the output of a failed command."""
    return next((hint for words, hint in HINTS if words in text), otherwise)


def as_host_error(error: Exception, host: str) -> AirfleetError:
    """Return the error of one host. An unexpected error becomes one too, so that the work on others continues."""
    if isinstance(error, AirfleetError):
        return error
    log.debug("unexpected on %s", host, exc_info=error)
    what = f"unexpected: {type(error).__name__}: {error}"
    output = "".join(traceback.format_exception(error))
    return HostError(what, where=host, hint="this is a fault of airfleet: please report it", output=output)


def _keep_asking(transport: Any) -> None:  # noqa: ANN401
    """Close a connection whose host does not answer for DEAD_AFTER_S seconds, so that no caller waits for ever."""
    while transport.is_active():
        answered = threading.Event()
        threading.Thread(target=_ask, args=(transport, answered), daemon=True).start()
        if not answered.wait(DEAD_AFTER_S):
            transport.close()
            return
        time.sleep(ASK_EVERY_S)


def _ask(transport: Any, answered: threading.Event) -> None:  # noqa: ANN401
    with suppress(Exception):  # paramiko's errors have no common base; after any of them the wait is over
        transport.global_request("keepalive@openssh.com", wait=True)
    answered.set()


def _feed(channel: Any, data: bytes | BinaryIO | None) -> None:  # noqa: ANN401
    try:
        if isinstance(data, bytes):
            channel.sendall(data)
        elif data is not None:
            while chunk := data.read(CHUNK):
                channel.sendall(chunk)
        channel.shutdown_write()
    except OSError:
        return  # the reader reports the error


def _read(channel: Any, end: float) -> tuple[bytes, bytes]:  # noqa: ANN401
    """Return the output of both streams. It waits for the command, but not for processes that the command left."""
    out, err = bytearray(), bytearray()
    ended = None
    while True:
        # The exit code is checked before the streams, so that all earlier output is already there to read.
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
            # The exit code may arrive before the last output. A process that the command left holds the streams open.
            ended = ended or now
            if is_whole or now - ended > LEFT_OPEN_S:
                return bytes(out), bytes(err)
        elif channel.closed or not channel.get_transport().is_active():
            raise EOFError("the host closed it")
        if now > end:
            raise TimeoutError("no answer in time")
        time.sleep(0.02)


def _accept(listener: socket.socket, transport: Any, address: str, port: int) -> None:  # noqa: ANN401
    """Forward each connection. If the host refuses one, that one ends, and the next is forwarded."""
    while True:
        try:
            local, peer = listener.accept()
        except OSError:  # the listener was shut down
            return
        try:
            channel = transport.open_channel("direct-tcpip", (address, port), peer, timeout=CONNECT_S)
        except Exception as error:  # paramiko's errors have no common base; the client sees that its connection ends
            log.warning("a connection to %s:%d was not forwarded: %s", address, port, error or type(error).__name__)
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
