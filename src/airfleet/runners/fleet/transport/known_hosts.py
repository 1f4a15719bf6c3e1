"""The known keys of hosts: read files in OpenSSH's format strictly, and append to them.

A file with a line that cannot be read is refused as a whole, because the key of the host may be in that line.
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
# The first bytes of OpenSSH's binary lists of revoked keys.
BINARY_LIST = b"SSHKRL\n\0"
AUTHORITY, REVOKED = "@cert-authority", "@revoked"
# The verdict on a key that a host shows. `changed` means that the host is known by other keys only.
Verdict = Literal["known", "unknown", "changed", "revoked"]


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public key of a host: its type and its bytes in SSH's wire format."""

    kind: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint that `ssh-keygen -l` shows."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")
        return f"{self.kind} SHA256:{digest}"


@dataclass(frozen=True, slots=True)
class KnownHost:
    """One line of a file: the names of hosts, a key, and the marker before them, if any."""

    names: str
    key: PublicKey
    marker: str = ""

    def is_about(self, name: str) -> bool:
        """Return whether the line applies to a host. With another port than 22, the name is `[name]:port`."""
        if self.names.startswith(HASHED):
            return _is_hash_of(self.names, name)
        patterns = self.names.lower().split(",")
        refused = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
        wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
        return _fits(name, wanted) and not _fits(name, refused)


def name_of(host: str, port: int) -> str:
    """Return the name of a host in these files."""
    host = host.lower()
    return host if port == STANDARD_PORT else f"[{host}]:{port}"


def read(paths: Iterable[Path], *, named: bool = False) -> tuple[KnownHost, ...]:
    """Return the lines of all files. A missing file has none. `named` means that the user named the files.

    Raises:
        AirfleetError: A named file is missing, a file cannot be read, or it has a broken line.
    """
    return _read(paths, named=named)


def read_revocations(paths: Iterable[Path]) -> tuple[KnownHost, ...]:
    """Return the `@revoked` lines of files. Their other lines are ignored, even broken ones.

    Raises:
        AirfleetError: A file exists and cannot be read, or it has a broken `@revoked` line.
    """
    return _read(paths, named=False, only=REVOKED)


def parse(text: str, where: str, *, only: str = "") -> tuple[KnownHost, ...]:
    """Return the lines of one file, or only those with the marker `only`. `where` names the file in errors.

    Raises:
        AirfleetError: A line is broken.
    """
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        if only and line.split(maxsplit=1)[:1] != [only]:
            continue
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        entry = _parse_line(line)
        if entry is None:
            hint = "a file with a broken line cannot be trusted: fix the line, or remove it"
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
    """Return the types of a host's known keys. airfleet requests a key of these types first."""
    return tuple(entry.key.kind for entry in entries if not entry.marker and entry.is_about(name))


def judge(entries: Sequence[KnownHost], name: str, key: PublicKey) -> Verdict:
    """Judge a key that a host shows."""
    about = [entry for entry in entries if entry.is_about(name)]
    if any(entry.marker == REVOKED and entry.key.blob == key.blob for entry in about):
        return "revoked"
    plain = [entry.key.blob for entry in about if not entry.marker]
    if key.blob in plain:
        return "known"
    return "changed" if plain else "unknown"


def is_revoked(path: Path, key: PublicKey) -> bool:
    """Return whether a file of revoked keys has a key. It has a key per line, or OpenSSH's binary format.

    Raises:
        AirfleetError: The file cannot be read, so the key may be in it.
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
    # ssh-keygen prints whether a key is revoked. Its exit code does not say: it is also not 0 for a broken list.
    if asked.returncode and "REVOKED" not in asked.stdout:
        raise AirfleetError(f"the list of revoked keys cannot be read: {asked.stderr.strip()}", where=str(path))
    return asked.returncode != 0


def add(path: Path, name: str, key: PublicKey, *, hashed: bool = False) -> None:
    """Append a key to a file, and create the file if needed. If the file has the key already, nothing changes."""
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
    # In these files, brackets are literal, as in [host]:2222.
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
