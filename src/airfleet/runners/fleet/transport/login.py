"""Log in to a host (ADR 11): connect, check its key, and authenticate with the user's keys.

A host with an unknown key is refused, unless the caller accepts new hosts. A host that is known by another key is
always refused. If the user's SSH configuration is stricter, it wins. The same rules apply to each jump host.
"""

from __future__ import annotations

import logging
import os
import shlex
import socket
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airfleet.errors import AirfleetError
from airfleet.runners.fleet.transport import client_config, known_hosts
from airfleet.runners.fleet.transport.client_config import ClientConfig
from airfleet.runners.fleet.transport.known_hosts import PublicKey
from airfleet.spec.addresses import join_port
from airfleet.spec.topology import Host, Ssh

if TYPE_CHECKING:
    import paramiko

CONNECT_S = 10
# Milliseconds without an acknowledgement after which the kernel ends the connection.
DEAD_AFTER_MS = 20_000
# Connections for many hosts reach one jump host at once, and its sshd drops some of them (MaxStartups). So airfleet
# tries again.
ATTEMPTS_AT_JUMP = 4
MOST_JUMPS = 8
# A function that is called with a message for each key that is accepted for the first time.
Welcome = Callable[[str], None]


class _TurnedAwayError(AirfleetError):
    """The server ended the connection before its greeting. It may be busy."""


@dataclass(frozen=True, slots=True)
class HostKeyPolicy:
    """The rule for host keys: known keys are accepted, and new keys only if `welcome` is given.

    `files` are the known_hosts files of fleet.yaml; without them, those of the SSH configuration count. `config`
    replaces the user's and the system's SSH configuration.
    """

    files: tuple[Path, ...] = ()
    welcome: Welcome | None = None
    config: Path | None = None


@dataclass(frozen=True, slots=True)
class HostLogin:
    """An open connection to a host. `close` also closes the connections to its jump hosts."""

    transport: paramiko.Transport
    _way: ExitStack

    def close(self) -> None:
        self._way.close()


def open_login(host: Host, project: Path, policy: HostKeyPolicy) -> HostLogin:
    """Log in to a host.

    Raises:
        AirfleetError: The host does not answer, its key is not accepted, or it refuses the login.
    """
    # paramiko raises every error that it logs.
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    config = client_config.read(host.address, user=host.ssh.user, port=host.ssh.port, file=policy.config)
    policy = replace(policy, files=_find_named(host.ssh, project))
    with ExitStack() as way:
        sock = way.enter_context(_lead_to(config, policy, way, depth=0))
        keys = _load_key(project, host) if host.ssh.key else _list_keys(config)
        transport = _log_in(sock, config, policy, keys)
        way.callback(transport.close)
        return HostLogin(transport, way.pop_all())


def forget_key(address: str, ssh: Ssh, project: Path) -> None:
    """Remove the key of a host from the files in which `open_login` would look for it."""
    config = client_config.read(address, user=ssh.user, port=ssh.port)
    for path in _find_named(ssh, project) or config.known_hosts:
        if path.exists():
            words = ["ssh-keygen", "-R", _name_in_files(config), "-f", str(path)]
            subprocess.run(words, capture_output=True, check=False)


def _find_named(ssh: Ssh, project: Path) -> tuple[Path, ...]:
    """Return the file of known hosts that fleet.yaml names, if it names one."""
    return (project / Path(ssh.known_hosts).expanduser(),) if ssh.known_hosts else ()


def _name_in_files(config: ClientConfig) -> str:
    return known_hosts.name_of(config.alias or config.address, 22 if config.alias else config.port)


def _lead_to(config: ClientConfig, policy: HostKeyPolicy, way: ExitStack, depth: int) -> Any:  # noqa: ANN401 - socket or channel
    """Return the transport of bytes to a host: a TCP connection, a ProxyCommand, or a channel of a jump host."""
    if depth > MOST_JUMPS:
        hint = f"check ProxyJump in the output of: ssh -G {config.address}"
        raise AirfleetError("the SSH configuration leads through jump hosts in a circle", hint=hint)
    if config.jumps:
        return _jump(config, policy, way, depth)
    if config.proxy:
        return _run_proxy(config.proxy, way)
    try:
        sock = socket.create_connection((config.address, config.port), timeout=CONNECT_S)
    except socket.gaierror:
        hint = "write its IP address in fleet.yaml, or add it to DNS"
        raise AirfleetError(f"{config.address} cannot be resolved", hint=hint) from None
    except OSError as error:
        raise _explain_silence(config, error) from None
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER_MS)
    return sock


def _jump(config: ClientConfig, policy: HostKeyPolicy, way: ExitStack, depth: int) -> Any:  # noqa: ANN401 - a channel
    hops = [client_config.read_jump(jump, file=policy.config) for jump in config.jumps]
    # Only the first jump host is reached from here. Each other one is reached from the one before it.
    channel: Any = None
    for number, hop in enumerate(hops):
        # A `ProxyJump` for every host also applies to the jump host itself, which is reached directly.
        hop = replace(hop, jumps=tuple(one for one in hop.jumps if one not in config.jumps))  # noqa: PLW2901
        sock = way.enter_context(channel or _lead_to(hop, policy, way, depth + 1))
        transport = _through_jump(sock, hop, policy, way, is_first=number == 0, depth=depth)
        target = hops[number + 1] if number + 1 < len(hops) else config
        try:
            channel = transport.open_channel(
                "direct-tcpip", (target.address, target.port), ("127.0.0.1", 0), timeout=CONNECT_S
            )
        except Exception as error:  # paramiko's errors have no common base
            hint = f"check that it is up, and that {hop.address} reaches it and forwards (AllowTcpForwarding)"
            what = f"{_where(target)} does not answer through the jump host {_where(hop)}: {_told(error)}"
            raise AirfleetError(what, hint=hint) from None
    return channel


def _through_jump(
    sock: Any,  # noqa: ANN401 - socket or channel
    hop: ClientConfig,
    policy: HostKeyPolicy,
    way: ExitStack,
    *,
    is_first: bool,
    depth: int,
) -> paramiko.Transport:
    """Log in to a jump host. Try again if its server is too busy for so many connections."""
    for attempt in range(1, ATTEMPTS_AT_JUMP + 1):
        try:
            transport = _log_in(sock, hop, policy, _list_keys(hop), files_too=True)
        except _TurnedAwayError as error:
            if not is_first or attempt == ATTEMPTS_AT_JUMP:
                raise AirfleetError(f"the jump host: {error.what}", hint=error.hint) from None
            # A random pause keeps the connections from coming at the same time again.
            time.sleep(attempt * (0.5 + zlib.crc32(os.urandom(4)) % 1000 / 1000))
            sock = way.enter_context(_lead_to(hop, policy, way, depth + 1))
        except AirfleetError as error:
            raise AirfleetError(f"the jump host: {error.what}", hint=error.hint) from None
        else:
            way.callback(transport.close)
            return transport
    raise AssertionError


def _run_proxy(command: str, way: ExitStack) -> socket.socket:
    ours, theirs = socket.socketpair()
    with theirs:
        end = theirs.fileno()
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"], stdin=end, stdout=end, stderr=subprocess.DEVNULL
        )
    way.callback(_end, process)
    return ours


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _log_in(
    sock: Any,  # noqa: ANN401 - socket or channel
    config: ClientConfig,
    policy: HostKeyPolicy,
    keys: Iterator[Any],
    *,
    files_too: bool = False,
) -> paramiko.Transport:
    import paramiko  # noqa: PLC0415

    name = _name_in_files(config)
    files = (*policy.files, *(config.known_hosts if files_too or not policy.files else ()))
    entries = [*known_hosts.read(policy.files, named=True), *known_hosts.read(files[len(policy.files) :])]
    # A revoked key is refused, even if another file lists it as known.
    entries += known_hosts.read_revocations(path for path in config.known_hosts if path not in files)
    transport = paramiko.Transport(sock)
    try:
        transport.banner_timeout = transport.auth_timeout = float(CONNECT_S)
        options = transport.get_security_options()
        options.key_types = order_algorithms(options.key_types, known_hosts.list_kinds(entries, name))
        try:
            transport.start_client(timeout=CONNECT_S)
            shown = transport.get_remote_server_key()
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise _explain_silence(config, error) from None
        key = PublicKey(shown.get_name(), shown.asbytes())
        _check_key(key, known_hosts.judge(entries, name, key), name, config, policy, files)
        _authenticate(transport, config, keys)
    except BaseException:
        transport.close()
        raise
    return transport


def order_algorithms(preferred: Sequence[str], kinds: Sequence[str]) -> tuple[str, ...]:
    """Return the algorithms with the types of a host's known keys first, so that the host shows a known key."""
    known = {"rsa-sha2-512", "rsa-sha2-256", *kinds} if "ssh-rsa" in kinds else set(kinds)
    return tuple(sorted(preferred, key=lambda name: name not in known))


def _check_key(
    key: PublicKey,
    verdict: known_hosts.Verdict,
    name: str,
    config: ClientConfig,
    policy: HostKeyPolicy,
    files: Sequence[Path],
) -> None:
    where, file = _where(config), files[0] if files else None
    if verdict == "revoked" or (config.revoked and known_hosts.is_revoked(config.revoked, key)):
        raise AirfleetError(f"{where} shows a key that is revoked: {key.fingerprint}", hint="give it a new host key")
    if verdict == "known":
        return
    if verdict == "changed":
        forget = f"ssh-keygen -R {shlex.quote(name)}" + (f" -f {shlex.quote(str(file))}" if policy.files else "")
        raise AirfleetError(
            f"the host key of {where} is not the known one: it shows {key.fingerprint}",
            hint=f"another machine may pose as this host; only if you know that it was reinstalled: {forget}",
        )
    if policy.welcome is None:
        raise AirfleetError(
            f"the host key of {where} is not known: {key.fingerprint}",
            hint="compare it with the host's own, at its console: ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub;"
            " if it is the same: airfleet apply --accept-new-hosts",
        )
    if config.is_strict or file is None:
        raise AirfleetError(
            f"the host key of {where} is not known: {key.fingerprint}",
            hint="your SSH configuration says StrictHostKeyChecking yes: add the key to your known hosts yourself",
        )
    known_hosts.add(file, name, key, hashed=config.hashes_names)
    policy.welcome(f"{where}: this host key is accepted from now on: {key.fingerprint} ({file})")


def _authenticate(transport: paramiko.Transport, config: ClientConfig, keys: Iterator[Any]) -> None:
    import paramiko  # noqa: PLC0415

    tried = 0
    for key in keys:
        tried += 1
        try:
            transport.auth_publickey(config.user, key)
        except paramiko.BadAuthenticationType:
            break
        except paramiko.AuthenticationException:
            continue
        except (paramiko.SSHException, OSError, EOFError):
            if not transport.is_active():
                break  # the server allows no further key
            continue
        if transport.is_authenticated():
            return
    tries = "there is no key to show: no agent has one, and no file" if not tried else f"none of {tried} keys is let in"
    raise AirfleetError(
        f"the host refuses the login as {config.user}: {tries}",
        hint="name the right `user` and `ssh.key`, or add the key there: ssh-copy-id",
    )


def _load_key(project: Path, host: Host) -> Iterator[Any]:
    """Yield the key that fleet.yaml names, and no other.

    Raises:
        AirfleetError: The file is missing, has a passphrase, or is not a private key.
    """
    import paramiko  # noqa: PLC0415

    path = project / Path(host.ssh.key or "").expanduser()
    if not path.is_file():
        raise AirfleetError(f"no such key file: {path}", hint="`ssh.key` in fleet.yaml names it")
    try:
        key = paramiko.PKey.from_path(path)
    except (TypeError, paramiko.PasswordRequiredException):
        hint = "add it to ssh-agent and leave out `ssh.key`"
        raise AirfleetError(f"the key {host.ssh.key} has a passphrase", hint=hint) from None
    except (ValueError, OSError, paramiko.SSHException, paramiko.pkey.UnknownKeyType):
        raise AirfleetError(f"{host.ssh.key} is no private key", hint="name it without .pub") from None
    return iter((key,))


def _list_keys(config: ClientConfig) -> Iterator[Any]:
    """Yield the keys of the agent, and those files of the SSH configuration that need no passphrase."""
    import paramiko  # noqa: PLC0415

    only = {blob for path in config.identities if (blob := _read_public(path))}
    for key in _ask_agent(config.agent):
        if not config.identities_only or key.blob in only:
            yield key
    for path in config.identities:
        try:
            key = paramiko.PKey.from_path(path)
        except (TypeError, ValueError, OSError, paramiko.SSHException, paramiko.pkey.UnknownKeyType):
            continue
        yield key
        for certificate in config.certificates:
            with suppress(OSError, ValueError, paramiko.SSHException):
                key.load_certificate(str(certificate))
                yield key


def _read_public(path: Path) -> bytes:
    """Return the public half of a key, from the file beside it or from the file itself."""
    for file in (path.with_name(f"{path.name}.pub"), path):
        with suppress(OSError, AirfleetError, UnicodeDecodeError):
            words = file.read_text().split()
            [entry] = known_hosts.parse(f"name {' '.join(words[:2])}", str(file))
            return entry.key.blob
    return b""


def _ask_agent(path: str) -> tuple[Any, ...]:
    from paramiko import SSHException  # noqa: PLC0415
    from paramiko.agent import AgentSSH  # noqa: PLC0415

    if not path:
        return ()
    agent: Any = AgentSSH()
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(path)
        # paramiko's class for a user's agent knows only the agent of the environment.
        agent._connect(sock)
    except (OSError, SSHException):
        sock.close()
        return ()
    for key in agent.get_keys():
        if key.inner_key is None:
            # paramiko does not know the type of a key on a hardware token, but the agent can sign with it.
            key.public_blob = None
    return tuple(agent.get_keys())


def _where(config: ClientConfig) -> str:
    return config.address if config.port == known_hosts.STANDARD_PORT else join_port(config.address, config.port)


def _told(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _explain_silence(config: ClientConfig, error: BaseException) -> AirfleetError:
    import paramiko  # noqa: PLC0415

    by = " through the ProxyCommand of the SSH configuration" if config.proxy else ""
    is_silent = isinstance(error, TimeoutError) or "timed out" in str(error) or "Timeout" in str(error)
    told = "" if is_silent or isinstance(error, EOFError) else f": {_told(error)}"
    hint = "check that it is up, and that its SSH port accepts connections"
    kind = (
        _TurnedAwayError
        if isinstance(error, EOFError | ConnectionResetError | paramiko.SSHException)
        else AirfleetError
    )
    return kind(f"{_where(config)} does not answer to SSH{by}{told}", hint=hint)
