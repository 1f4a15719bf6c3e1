"""Secrets: how to fetch one by its reference, and a type that does not print its value."""

from __future__ import annotations

import hmac
import os
import re
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from airfleet.errors import UsageError
from airfleet.spec.secret_ref import SecretRef

COMMAND_SECONDS = 30.0


class Secret:
    """A text that prints as `***`. Only `reveal` returns the text. It cannot be hashed or pickled."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._value

    def __str__(self) -> str:
        return "***"

    def __repr__(self) -> str:
        return "Secret('***')"

    def __format__(self, spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        # Python decodes an environment value that is not UTF-8 with surrogates.
        mine, theirs = (secret._value.encode("utf-8", "surrogateescape") for secret in (self, other))
        return hmac.compare_digest(mine, theirs)

    __hash__ = None  # type: ignore[assignment]  # a hash would reveal which secrets are equal

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    # A copy that unpickles as "***" would be used as a password.
    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled")


class Rotating(Secret):
    """A secret that may be in rotation: the value in use, and other values that servers still accept.

    Each value has its own slot. A server that allows one password per login gets one login for each slot.
    `is_settling` means that every process uses the new value, and that data stored under the others must be rewritten.
    """

    __slots__ = ("is_settling", "others", "slot")

    def __init__(
        self, value: str, *, slot: int = 0, others: tuple[Rotating, ...] = (), is_settling: bool = False
    ) -> None:
        super().__init__(value)
        self.slot = slot
        self.others = others
        self.is_settling = is_settling


def list_accepted(secret: Secret) -> tuple[Secret, ...]:
    """Return every value that servers accept now. The value in use comes first."""
    return (secret, *secret.others) if isinstance(secret, Rotating) else (secret,)


def by_login(name: str, secret: Secret) -> dict[str, Secret]:
    """Return every valid login with its password. The order does not depend on which value is in use."""
    pairs = [(find_login(name, one), one) for one in list_accepted(secret)]
    return dict(sorted(pairs, key=lambda pair: pair[0]))


def find_login(name: str, secret: Secret) -> str:
    """Return the login of this value of a secret. fleet.yaml allows no dot in a name, so the result is unique."""
    slot = secret.slot if isinstance(secret, Rotating) else 0
    return f"{name}.{slot}" if slot else name


def resolve(ref: SecretRef, *, environ: Mapping[str, str], project: Path, where: str = "fleet.yaml") -> Secret:
    """Return the secret that a reference points to. `where` names the reference in errors.

    A file is relative to the project. A command runs in the project folder: a list runs without a shell, a text runs
    through `sh -c`. A command may run for COMMAND_SECONDS.

    Raises:
        UsageError: The secret cannot be fetched, or it is empty. The error contains no part of the secret.
    """
    if ref.env is not None:
        source, value = f"the environment variable {ref.env}", _from_env(ref.env, environ, where)
    elif ref.file is not None:
        source, value = f"the file {ref.file}", _from_file(ref.file, project, where)
    else:
        source, value = "the command's output", _from_command(ref.command or (), environ, project, where)
    if not value:
        raise UsageError(f"{source} is empty", where=where, hint="a secret has at least one character")
    return Secret(value)


def _from_env(name: str, environ: Mapping[str, str], where: str) -> str:
    if name not in environ:
        what = f"the environment variable {name} is not set"
        raise UsageError(what, where=where, hint=f"set it before airfleet runs: export {name}=...")
    return environ[name]


def _from_file(name: str, project: Path, where: str) -> str:
    try:
        with (project / Path(name).expanduser()).open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            content = stream.read()
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        hint = "a path is relative to the project folder"
        raise UsageError(f"the file {name} cannot be read: {reason}", where=where, hint=hint) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        what = f"the file {name} is open to other users (mode {mode:04o})"
        raise UsageError(what, where=where, hint=f"chmod 600 {name}")
    return _text(content, f"the file {name}", where)


def _from_command(command: str | tuple[str, ...], environ: Mapping[str, str], project: Path, where: str) -> str:
    argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
    # Arguments and stderr may contain a secret, so errors name only the program.
    name = "the shell command" if isinstance(command, str) else f"the command {argv[0]}"
    hint = "run it by hand in the project folder to see why"
    try:
        run = subprocess.run(
            argv,
            check=False,
            cwd=project,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=COMMAND_SECONDS,
        )
    except subprocess.TimeoutExpired:
        what = f"{name} did not end within {COMMAND_SECONDS:g} s"
        raise UsageError(what, where=where, hint=f"{hint}; it gets no input") from None
    except OSError as error:
        raise UsageError(f"{name} cannot be started: {error.strerror}", where=where, hint=hint) from None
    if run.returncode != 0:
        raise UsageError(f"{name} failed with exit code {run.returncode}", where=where, hint=hint)
    return _text(run.stdout, "the command's output", where)


def _text(content: bytes, source: str, where: str) -> str:
    """Decode the content, and remove one newline at its end: editors and `echo` add one."""
    try:
        return re.sub(r"\r?\n\Z", "", content.decode())
    except UnicodeDecodeError:
        raise UsageError(f"{source} is not UTF-8 text", where=where, hint="save the secret as plain text") from None
