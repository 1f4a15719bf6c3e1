"""The SSH configuration of this machine for one host, as OpenSSH itself reads it (`ssh -G`)."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from airfleet.errors import AirfleetError

TIME_OUT_S = 30
_JUMP = re.compile(r"(?:ssh://)?(?:(?P<user>[^@]+)@)?(?:\[(?P<six>[^]]+)\]|(?P<host>[^:]+))(?::(?P<port>\d+))?")


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """The SSH configuration for one host: its address, the login, its known keys, and the way to it.

    `alias` is its name in the files of known hosts. `is_strict` means that the user accepts no unknown host, even with
    --accept-new-hosts. `revoked` is a file of keys that no host may show. `jumps` are the jump hosts, the nearest
    first. `proxy` is a command whose input and output lead to the host.
    """

    address: str
    port: int
    user: str
    alias: str
    is_strict: bool = False
    known_hosts: tuple[Path, ...] = ()
    revoked: Path | None = None
    hashes_names: bool = False
    identities: tuple[Path, ...] = ()
    certificates: tuple[Path, ...] = ()
    identities_only: bool = False
    agent: str = ""
    proxy: str = ""
    jumps: tuple[str, ...] = ()


def read(host: str, *, user: str | None = None, port: int | None = None, file: Path | None = None) -> ClientConfig:
    """Return the configuration with which `ssh` would reach a host. `file` replaces the user's and the system's.

    Raises:
        AirfleetError: There is no `ssh`, or the configuration cannot be read.
    """
    options = [
        *(("-F", str(file)) if file else ()),
        *(("-l", user) if user else ()),
        *(("-p", str(port)) if port else ()),
    ]
    try:
        done = subprocess.run(
            ["ssh", "-G", *options, "--", host],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIME_OUT_S,
        )
    except FileNotFoundError:
        hint = "install OpenSSH's client here (Debian: openssh-client); airfleet reads the SSH configuration with it"
        raise AirfleetError("there is no `ssh` on this machine", hint=hint) from None
    except subprocess.TimeoutExpired:
        hint = f"try it yourself: ssh -G {host}; a `Match exec` in the SSH configuration may hang"
        raise AirfleetError("the SSH configuration cannot be read: `ssh -G` does not end", hint=hint) from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"ssh -G ended with {done.returncode}"])[0]
        raise AirfleetError(f"the SSH configuration cannot be read: {said}", hint=f"try it yourself: ssh -G {host}")
    return parse(done.stdout, host)


def read_jump(written: str, *, file: Path | None = None) -> ClientConfig:
    """Return the configuration of a jump host in the form of `ProxyJump`: [user@]host[:port].

    Raises:
        AirfleetError: The text names no host.
    """
    found = _JUMP.fullmatch(written.strip())
    if found is None:
        raise AirfleetError(f"ProxyJump names no host: {written!r}", hint="write [user@]host[:port]")
    port = int(found["port"]) if found["port"] else None
    return read(found["six"] or found["host"], user=found["user"], port=port, file=file)


def parse(text: str, host: str) -> ClientConfig:
    """Return the configuration in the output of `ssh -G`."""
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        values.setdefault(key, []).append(value)

    def first(key: str, otherwise: str = "") -> str:
        said = values.get(key, [otherwise])[0]
        return otherwise if said == "none" else said

    address, port, user = first("hostname", host), int(first("port", "22")), first("user")
    tokens = {"h": address, "p": str(port), "r": user, "n": host}
    files = [*first("userknownhostsfile").split(), *first("globalknownhostsfile").split()]
    return ClientConfig(
        address=address,
        port=port,
        user=user,
        alias=first("hostkeyalias"),
        is_strict=first("stricthostkeychecking") in ("yes", "true"),
        known_hosts=_paths(files, tokens),
        revoked=next(iter(_paths([first("revokedhostkeys", "none")], tokens)), None),
        hashes_names=first("hashknownhosts") == "yes",
        identities=_paths(values.get("identityfile", ()), tokens),
        certificates=_paths(values.get("certificatefile", ()), tokens),
        identities_only=first("identitiesonly") == "yes",
        agent=_find_agent(values.get("identityagent", ["SSH_AUTH_SOCK"])[0], os.environ),
        proxy=_expand(first("proxycommand"), tokens),
        jumps=tuple(jump for jump in first("proxyjump").split(",") if jump),
    )


def _find_agent(said: str, environ: Mapping[str, str]) -> str:
    if said == "none":
        return ""
    name = said.removeprefix("$") if said.startswith("$") else said
    return environ.get(name, "") if name == "SSH_AUTH_SOCK" or said.startswith("$") else said


def _paths(written: Sequence[str], tokens: Mapping[str, str]) -> tuple[Path, ...]:
    # OpenSSH reads the home folder from the user database, not from $HOME.
    home = pwd.getpwuid(os.getuid()).pw_dir
    more = {**tokens, "d": home, "u": pwd.getpwuid(os.getuid()).pw_name}
    expanded = (_expand(one, more) for one in written)
    return tuple(Path(home, one[2:]) if one.startswith("~/") else Path(one) for one in expanded if one != "none")


def _expand(text: str, tokens: Mapping[str, str]) -> str:
    return re.sub(r"%(.)", lambda found: {**tokens, "%": "%"}.get(found[1], found[0]), text)
