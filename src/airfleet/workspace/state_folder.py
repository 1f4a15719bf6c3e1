"""The state folder of a platform: its files, and the lock that one supervisor holds.

Every write replaces a file atomically. After a kill at any line, a file has either the old content or the new.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from packaging.version import InvalidVersion, Version

from airfleet.errors import AirfleetError
from airfleet.spec.secrets import Secret
from airfleet.workspace import file_lock
from airfleet_provider.contract.fork_protocol import SESSIONS

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from airfleet.components.model import Credentials

# Increase this number when an older airfleet could no longer read the folder.
LAYOUT = 1
# Earlier versions left the files that they imported, with the passwords of connections.
KEPT_ONCE = ("connections.json", "variables.json", "pools.json")
# The digest of the fleet.yaml of the last start.
SETTINGS = "fleet.yaml.sha256"
# From this secret the key pair that signs tokens is derived. Platforms of earlier versions begin without it.
JWT_KEY = "jwt_key"


@dataclass(frozen=True, slots=True)
class StateVersions:
    """The versions that made a state folder.

    Only the same layout, the same major version of PostgreSQL, and no older Airflow may use the folder.
    """

    layout: int
    instance: str
    airflow: str
    postgres: str


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process of the platform, as the supervisor sees it. Times are seconds since 1970.

    `forks` are processes that work for it, and that are its children no more than its supervisor's.
    """

    name: str
    phase: str
    pid: int | None
    since: float
    restarts: int
    detail: str
    url: str
    forks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of the whole platform at one moment, as the supervisor last wrote it.

    `supervisor_started` is in seconds since the boot. Other times are seconds since 1970. Only earlier versions, which
    may run in this folder again, read `written` and `sessions`.
    """

    fleet: str
    project: str
    supervisor: int
    supervisor_started: float
    phase: str
    url: str
    written: float
    sessions: tuple[int, ...]
    processes: tuple[ProcessStatus, ...]

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Snapshot:
        processes = tuple(
            ProcessStatus(**{**process, "forks": tuple(process.get("forks", ()))}) for process in body["processes"]
        )
        return cls(**{**body, "processes": processes, "sessions": tuple(body["sessions"])})


@dataclass(frozen=True, slots=True)
class BrokenFile:
    """A Dag file that Airflow could not load."""

    file: str
    message: str


@dataclass(frozen=True, slots=True)
class StateFolder:
    """The paths of one state folder, and the operations on its files."""

    root: Path

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def sessions(self) -> Path:
        """The notes of the sessions that the platform's processes began."""
        return self.root / "airflow" / SESSIONS

    def create(self) -> None:
        """Create the folder and its subfolders if they do not exist.

        Raises:
            AirfleetError: The folder cannot be written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            # PostgreSQL does not run as root: another user must reach its data through this folder, but not list it.
            self.root.chmod(0o711 if os.geteuid() == 0 else 0o700)
            for folder in (self.logs, self.secrets, self.root / "airflow"):
                folder.mkdir(mode=0o700, exist_ok=True)
            for name in KEPT_ONCE:
                (self.secrets / name).unlink(missing_ok=True)
            write_file(self.root / ".gitignore", "*\n", mode=0o644)
        except OSError as error:
            raise AirfleetError(
                f"cannot write the state folder: {error.strerror}",
                where=str(error.filename or self.root),
                hint="free some space, or name another folder with --state",
            ) from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process.

        Raises:
            AirfleetError: Another process holds it.
        """
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            file_lock.take(descriptor)
        except BlockingIOError as error:
            os.close(descriptor)
            raise AirfleetError(
                "a platform is already up here",
                where=str(self.root),
                hint="`airfleet status` shows it, `airfleet down` stops it; --state starts another one beside it",
            ) from error
        try:
            yield
        finally:
            os.close(descriptor)

    def is_held(self) -> bool:
        """Return whether a supervisor holds the folder now. The check does not keep others from taking the folder."""
        return file_lock.is_taken(self.root / "lock")

    def read_instance(self, *, airflow: str, postgres: str) -> StateVersions:
        """Return the instance of this folder with the present versions, and record it. A new folder gets a new name.

        Raises:
            AirfleetError: These versions cannot use the folder.
        """
        known = self.check_instance(airflow=airflow, postgres=postgres)
        instance = StateVersions(LAYOUT, known.instance if known else secrets.token_hex(8), airflow, postgres)
        write_file(self.root / "instance.json", json.dumps(asdict(instance)))
        return instance

    def check_instance(self, *, airflow: str, postgres: str) -> StateVersions | None:
        """Return the instance that is recorded in this folder, or None in a new folder.

        Raises:
            AirfleetError: These versions cannot use the folder.
        """
        path = self.root / "instance.json"
        body = read_fields(path)
        if body is None:
            return None
        instance = _parse_instance(path, body)
        _check_usable(path, instance, airflow=airflow, postgres=postgres)
        return instance

    def peek_instance(self) -> str | None:
        """Return the name of the instance without a check of versions, or None if this is not a state folder."""
        body = read_fields(self.root / "instance.json") or {}
        return body.get("instance")

    @property
    def postgres_data(self) -> Path:
        """The data folder of the platform's own PostgreSQL."""
        return self.root / "postgres"

    def name_processes(self) -> str:
        """Return what marks the processes of this folder's platform, or "". A copy of the folder has another mark."""
        instance = self.peek_instance()
        return f"{instance} {self.root}" if instance else ""

    def read_dsn(self) -> Secret | None:
        """Return the URL of the metadata database of the platform that last ran here, or None."""
        path = self.secrets / "metadata_dsn"
        return Secret(path.read_text()) if path.exists() else None

    def write_dsn(self, dsn: Secret) -> None:
        write_file(self.secrets / "metadata_dsn", dsn.reveal())

    def note_settings(self, digest: str) -> None:
        """Note the digest of the fleet.yaml with which the platform of this machine starts."""
        write_file(self.root / SETTINGS, digest)

    def started_with(self, digest: str) -> bool:
        """Return whether a platform of this machine was started last with the fleet.yaml of this digest."""
        return bool(digest) and _read_if_there(self.root / SETTINGS) == digest

    def keep_secret(self, name: str, make: Callable[[], str] = lambda: secrets.token_urlsafe(24)) -> Secret:
        """Return a secret of this platform, and make it if it does not exist. Concurrent callers get the same value.

        Raises:
            AirfleetError: The file of the secret is empty.
        """
        path = self.secrets / name
        # Whoever requests a new value may remove the file at any moment, also after a look whether it exists.
        found = _read_if_there(path)
        if found is None:
            # Without a lock, two commands could each make a value, and one would use a value that the other replaced.
            descriptor = os.open(self.secrets, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                found = _read_if_there(path)
                if found is None:
                    found = make()
                    write_file(path, found)
            finally:
                os.close(descriptor)
        value = found.strip()
        if not value:
            hint = "remove the file, and airfleet makes a new secret"
            raise AirfleetError("this secret is empty", where=str(path), hint=hint)
        return Secret(value)

    def read_credentials(
        self, databases: tuple[str, ...], present: Callable[[str, Secret], Secret] = lambda _, secret: secret
    ) -> Credentials:
        """Return the platform's secrets as `present` converts them, and make those that do not exist."""
        from airfleet.components.model import Credentials  # noqa: PLC0415 - it takes 40 ms, and few commands need it

        def keep(name: str, make: Callable[[], str] = lambda: secrets.token_urlsafe(24)) -> Secret:
            return present(name, self.keep_secret(name, make))

        return Credentials(
            admin=keep("admin_password", lambda: secrets.token_urlsafe(12)),
            superuser=keep("postgres_superuser"),
            airflow=keep("postgres_airflow"),
            fernet_key=keep("fernet_key", lambda: urlsafe_b64encode(os.urandom(32)).decode()),
            jwt_secret=keep("jwt_secret", lambda: secrets.token_urlsafe(48)),
            jwt_key=keep(JWT_KEY, lambda: secrets.token_urlsafe(48)),
            secret_key=keep("secret_key"),
            databases={name: keep(f"postgres_{name}") for name in databases},
        )

    def write_snapshot(self, snapshot: Snapshot) -> None:
        body = asdict(snapshot)
        for process in body["processes"]:
            if not process["forks"]:
                del process["forks"]  # an earlier version reads the file after a stop, and does not know the field
        write_file(self.root / "state.json", json.dumps(body))

    def read_snapshot(self) -> Snapshot | None:
        """Return the state that the supervisor wrote last, or None if no supervisor ever ran here.

        Raises:
            AirfleetError: The file is broken.
        """
        path = self.root / "state.json"
        body = read_fields(path)
        if body is None:
            return None
        try:
            return Snapshot.from_json(body)
        except (TypeError, KeyError) as error:
            raise _unusable(path, f"is not complete: {error}") from error


def _read_if_there(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def write_file(path: Path, content: str, *, mode: int = 0o600) -> None:
    """Replace a file's content atomically and durably. No other user can read it before it has its `mode`."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to disk. fsync(2) of a file writes its content, but not its name in the folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


T = TypeVar("T")


def build_record(kind: type[T], body: object, path: Path) -> T:
    """Build one record of a state file. `path` names the file in errors.

    Raises:
        AirfleetError: The record is broken, or has fields of a newer airfleet, which this airfleet must not ignore.
    """
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if not isinstance(body, dict):
        raise AirfleetError("is not a record", where=str(path), hint="restore it from a copy of the state folder")
    if unknown := sorted(body.keys() - names):
        raise AirfleetError(
            f"was written by a newer airfleet: {', '.join(unknown)}",
            where=str(path),
            hint="use the newest airfleet that was used on this fleet",
        )
    try:
        return kind(**body)
    except TypeError as error:
        hint = "restore it from a copy of the state folder"
        raise AirfleetError(f"is not complete: {error}", where=str(path), hint=hint) from None


def read_record(kind: type[T], path: Path) -> T | None:
    """Read the record of a state file; None if the file does not exist.

    Raises:
        AirfleetError: The file is broken or was written by a newer airfleet.
    """
    body = read_fields(path)
    return None if body is None else build_record(kind, body, path)


def read_records(path: Path, build: Callable[[object], T], hint: str) -> tuple[T, ...]:
    """Read the records of a state file that has many; none if the file does not exist. `hint` says how to get it back.

    Raises:
        AirfleetError: The file cannot be read, or `build` refuses what it says.
    """
    try:
        return tuple(build(one) for one in json.loads(path.read_text()))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError) as error:
        raise AirfleetError(f"cannot be read: {error}", where=str(path), hint=hint) from None


def write_records(path: Path, records: Iterable[DataclassInstance]) -> None:
    """Replace the records of a state file that has many, atomically and durably."""
    write_file(path, json.dumps([asdict(one) for one in records], indent=1))


def read_fields(path: Path) -> dict[str, Any] | None:
    """Return the fields of a state file, or None if there is no file."""
    try:
        body = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise _unusable(path, f"is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise _unusable(path, "is not a JSON object")
    return body


def _parse_instance(path: Path, body: Mapping[str, Any]) -> StateVersions:
    if body.get("layout") != LAYOUT:
        raise _unusable(path, f"was made by another airfleet (layout {body.get('layout')}, this one has {LAYOUT})")
    try:
        return StateVersions(**body)
    except TypeError as error:
        raise _unusable(path, f"is not complete: {error}") from error


def _check_usable(path: Path, instance: StateVersions, *, airflow: str, postgres: str) -> None:
    if "own" in (instance.postgres, postgres) and instance.postgres != postgres:
        was, now = ("in it", "in yours") if postgres == "own" else ("in yours", "in it")
        raise AirfleetError(
            f"the metadata of this platform is {was}, and would begin anew {now}",
            where=str(path),
            hint="put `database` in fleet.yaml back as it was; or begin with an empty folder: --state NEW_FOLDER",
        )
    if instance.postgres != postgres:
        raise _unusable(path, f"holds data of PostgreSQL {instance.postgres}, this one has {postgres}")
    try:
        is_newer = Version(instance.airflow) > Version(airflow)
    except InvalidVersion:
        raise _unusable(path, f"names no version of Airflow: {instance.airflow!r}") from None
    if is_newer:
        raise _unusable(path, f"was used by Airflow {instance.airflow}, newer than the installed {airflow}")


def _unusable(path: Path, what: str) -> AirfleetError:
    return AirfleetError(
        f"this state folder {what}",
        where=str(path),
        hint="use the airfleet and Airflow that made it, or start with an empty folder: --state NEW_FOLDER",
    )
