"""The known keys of hosts: files in OpenSSH's format, read strictly, and added to.

A file with a line that cannot be read is refused as a whole: the key of the host in question may stand in that line.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import hmac
import os
import secrets
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from airfleet.errors import AirfleetError

STANDARD_PORT = 22
HASHED = "|1|"
# How OpenSSH's binary lists of revoked keys begin.
BINARY_LIST = b"SSHKRL\n\0"
AUTHORITY, REVOKED = "@cert-authority", "@revoked"
# How a key that a host showed stands: `changed` where the host is known by other keys only.
Verdict = Literal["known", "unknown", "changed", "revoked"]


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public key of a host: its type and its bytes as they go over the wire."""

    kind: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """What `ssh-keygen -l` shows of it."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")
        return f"{self.kind} SHA256:{digest}"


@dataclass(frozen=True, slots=True)
class KnownHost:
    """One line: the names it is about, a key, and the marker in front of them, if any."""

    names: str
    key: PublicKey
    marker: str = ""

    def is_about(self, name: str) -> bool:
        """Whether the line is about a host, which is called `[name]:port` where the port is not 22."""
        if self.names.startswith(HASHED):
            return _is_hash_of(self.names, name)
        patterns = self.names.lower().split(",")
        refused = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
        wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
        return _fits(name, wanted) and not _fits(name, refused)


def name_of(host: str, port: int) -> str:
    """What a host is called in these files."""
    host = host.lower()
    return host if port == STANDARD_PORT else f"[{host}]:{port}"


def read(paths: Iterable[Path], *, named: bool = False) -> tuple[KnownHost, ...]:
    """The lines of all files; one that is missing has none, unless the files are `named` by the user.

    Raises AirfleetError for a file that is missing though named, that cannot be read, or that has a broken line.
    """
    return _read(paths, named=named)


def read_revocations(paths: Iterable[Path]) -> tuple[KnownHost, ...]:
    """The `@revoked` lines of files whose other lines do not count, broken ones among them.

    Raises AirfleetError for a file that is there and cannot be read, and for a broken `@revoked` line.
    """
    return _read(paths, named=False, only=REVOKED)


def parse(text: str, where: str, *, only: str = "") -> tuple[KnownHost, ...]:
    """The lines of one file, or those with one marker `only`; raises AirfleetError for one that cannot be read."""
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        if only and line.split(maxsplit=1)[:1] != [only]:
            continue
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        entry = _parse_line(line)
        if entry is None:
            hint = "no host is trusted by a file with a broken line: mend the line, or remove it"
            raise AirfleetError("this line of known hosts cannot be read", where=f"{where}:{number}", hint=hint)
        entries.append(entry)
    return tuple(entries)


def _read(paths: Iterable[Path], *, named: bool, only: str = "") -> tuple[KnownHost, ...]:
    entries: list[KnownHost] = []
    for path in paths:
        try:
            text = path.read_text(errors="surrogateescape")
        except FileNotFoundError:
            if not named:
                continue
            hint = "`ssh.known_hosts` in fleet.yaml names it; an empty file is one that knows no host yet"
            raise AirfleetError("no such file of known hosts", where=str(path), hint=hint) from None
        except OSError as error:
            raise AirfleetError(
                f"the file of known hosts cannot be read: {error.strerror}", where=str(path), hint="mend that first"
            ) from None
        entries += parse(text, str(path), only=only)
    return tuple(entries)


def _parse_line(line: str) -> KnownHost | None:
    words = line.split()
    marker = words.pop(0) if words[0].startswith("@") else ""
    if marker not in ("", AUTHORITY, REVOKED) or len(words) < 3:
        return None
    names, kind, written = words[:3]
    try:
        blob = base64.b64decode(written, validate=True)
    except binascii.Error:
        return None
    length = int.from_bytes(blob[:4], "big")
    if blob[4 : 4 + length] != kind.encode(errors="replace") or len(blob) <= 4 + length:
        return None
    if names.startswith(HASHED) and _split_hash(names) is None:
        return None
    return KnownHost(names, PublicKey(kind, blob), marker)


def list_kinds(entries: Iterable[KnownHost], name: str) -> tuple[str, ...]:
    """The types of the keys that a host is known by; it is asked for one of these first."""
    return tuple(entry.key.kind for entry in entries if not entry.marker and entry.is_about(name))


def judge(entries: Sequence[KnownHost], name: str, key: PublicKey) -> Verdict:
    """How a key that a host has shown stands."""
    about = [entry for entry in entries if entry.is_about(name)]
    if any(entry.marker == REVOKED and entry.key.blob == key.blob for entry in about):
        return "revoked"
    plain = [entry.key.blob for entry in about if not entry.marker]
    if key.blob in plain:
        return "known"
    return "changed" if plain else "unknown"


def is_revoked(path: Path, key: PublicKey) -> bool:
    """Whether a file of revoked keys has a key: one key a line, or a list in OpenSSH's binary format.

    Raises AirfleetError for a file that cannot be read, as the key may stand in it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        hint = "RevokedHostKeys in the SSH configuration names it"
        what = f"the file of revoked keys cannot be read: {error.strerror}"
        raise AirfleetError(what, where=str(path), hint=hint) from None
    if content.startswith(BINARY_LIST):
        return _is_in_list(path, key)
    lines = (line.strip() for line in content.decode(errors="surrogateescape").split("\n"))
    named = "\n".join(f"* {line}" if line and not line.startswith("#") else "" for line in lines)
    return any(entry.key.blob == key.blob for entry in parse(named, str(path)))


def _is_in_list(path: Path, key: PublicKey) -> bool:
    line = f"{key.kind} {base64.b64encode(key.blob).decode()}\n"
    asked = subprocess.run(
        ["ssh-keygen", "-Q", "-f", str(path), "/dev/stdin"], input=line, capture_output=True, text=True, check=False
    )
    # It says so of each key; an exit code other than 0 also stands for a list that it could not read.
    if asked.returncode and "REVOKED" not in asked.stdout:
        raise AirfleetError(f"the list of revoked keys cannot be read: {asked.stderr.strip()}", where=str(path))
    return asked.returncode != 0


def add(path: Path, name: str, key: PublicKey, *, hashed: bool = False) -> None:
    """Append a key to a file, which is made where it is missing; a key that is there already stays as it is."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        before = file.read()
        if judge(parse(before.decode(errors="surrogateescape"), str(path)), name, key) == "known":
            return
        line = f"{_hash(name) if hashed else name} {key.kind} {base64.b64encode(key.blob).decode()}\n"
        file.write((b"\n" if before and not before.endswith(b"\n") else b"") + line.encode())
        file.flush()
        os.fsync(file.fileno())


def _fits(name: str, patterns: Iterable[str]) -> bool:
    # Brackets stand for themselves in these files, as in [host]:2222.
    return any(fnmatchcase(name, pattern.replace("[", "[[]")) for pattern in patterns)


def _hash(name: str) -> str:
    salt = secrets.token_bytes(20)
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"{HASHED}{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def _split_hash(names: str) -> tuple[bytes, bytes] | None:
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in names.removeprefix(HASHED).split("|"))
    except (ValueError, binascii.Error):
        return None
    return salt, digest


def _is_hash_of(names: str, name: str) -> bool:
    parts = _split_hash(names)
    if parts is None:
        return False
    salt, digest = parts
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)
