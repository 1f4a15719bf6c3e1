"""The state folder of one platform on one machine: its content, its holder, and how files are written.

Every file is replaced atomically, so that a kill at any line leaves either the old content or the new.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from airfleet.components.model import Credentials
from airfleet.errors import AirfleetError
from airfleet.spec.secrets import Secret
from airfleet.workspace import file_lock

# Raised when an older airfleet could not read the folder any more.
LAYOUT = 1
# Earlier versions left what they imported, the passwords of connections among it.
KEPT_ONCE = ("connections.json", "variables.json", "pools.json")


@dataclass(frozen=True, slots=True)
class Instance:
    """What made a state folder: it may be used by the same layout and PostgreSQL, and by no older Airflow."""

    layout: int
    instance: str
    airflow: str
    postgres: str


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process as the supervisor sees it; times are seconds since the epoch."""

    name: str
    phase: str
    pid: int | None
    since: float
    restarts: int
    detail: str
    url: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole platform at one moment, as the supervisor last wrote it down."""

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
        processes = tuple(ProcessStatus(**process) for process in body["processes"])
        return cls(**{**body, "processes": processes, "sessions": tuple(body["sessions"])})


@dataclass(frozen=True, slots=True)
class BrokenFile:
    """A Dag file that Airflow could not load."""

    file: str
    message: str


@dataclass(frozen=True, slots=True)
class StateFolder:
    """The paths below one state folder, and the few operations on them."""

    root: Path

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    def create(self) -> None:
        """Make the folder and what must be in it; raises AirfleetError where it cannot be written."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            # PostgreSQL, which refuses to run as root, must get through to its data; it cannot list what is here.
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
        """Hold the folder for this process; raises AirfleetError while another one has it."""
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
        """Whether a supervisor holds the folder now; looking takes nothing, and keeps nobody from taking it."""
        return file_lock.is_taken(self.root / "lock")

    def read_instance(self, *, airflow: str, postgres: str) -> Instance:
        """Who made this folder, made now if it is new; raises AirfleetError when these versions cannot use it."""
        known = self.check_instance(airflow=airflow, postgres=postgres)
        instance = Instance(LAYOUT, known.instance if known else secrets.token_hex(8), airflow, postgres)
        write_file(self.root / "instance.json", json.dumps(asdict(instance)))
        return instance

    def check_instance(self, *, airflow: str, postgres: str) -> Instance | None:
        """Who made this folder, or nobody yet; raises AirfleetError when these versions cannot use it."""
        path = self.root / "instance.json"
        body = _read_json(path)
        if body is None:
            return None
        instance = _parse_instance(path, body)
        _check_usable(path, instance, airflow=airflow, postgres=postgres)
        return instance

    def peek_instance(self) -> str | None:
        """The instance's name, whoever made the folder; nothing in a folder that is not one."""
        body = _read_json(self.root / "instance.json") or {}
        return body.get("instance")

    def read_dsn(self) -> Secret | None:
        """The URL of the metadata database of the platform that last ran here."""
        path = self.secrets / "metadata_dsn"
        return Secret(path.read_text()) if path.exists() else None

    def write_dsn(self, dsn: Secret) -> None:
        write_file(self.secrets / "metadata_dsn", dsn.reveal())

    def keep_secret(self, name: str, make: Callable[[], str] = lambda: secrets.token_urlsafe(24)) -> Secret:
        """A secret of this platform, made when it is first asked for."""
        path = self.secrets / name
        if not path.exists():
            # One at a time: of two commands that begin together, one would go on with a value that the other replaces.
            descriptor = os.open(self.secrets, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if not path.exists():
                    write_file(path, make())
            finally:
                os.close(descriptor)
        value = path.read_text().strip()
        if not value:
            hint = "remove the file, and another one is made"
            raise AirfleetError("this secret is empty", where=str(path), hint=hint)
        return Secret(value)

    def read_credentials(
        self, databases: tuple[str, ...], present: Callable[[str, Secret], Secret] = lambda _, secret: secret
    ) -> Credentials:
        """The platform's secrets, each made when it is first asked for, and as `present` hands it on."""

        def keep(name: str, make: Callable[[], str] = lambda: secrets.token_urlsafe(24)) -> Secret:
            return present(name, self.keep_secret(name, make))

        return Credentials(
            admin=keep("admin_password", lambda: secrets.token_urlsafe(12)),
            superuser=keep("postgres_superuser"),
            airflow=keep("postgres_airflow"),
            fernet_key=keep("fernet_key", lambda: urlsafe_b64encode(os.urandom(32)).decode()),
            jwt_secret=keep("jwt_secret", lambda: secrets.token_urlsafe(48)),
            secret_key=keep("secret_key"),
            databases={name: keep(f"postgres_{name}") for name in databases},
        )

    def write_snapshot(self, snapshot: Snapshot) -> None:
        write_file(self.root / "state.json", json.dumps(asdict(snapshot)))

    def read_snapshot(self) -> Snapshot | None:
        """What the supervisor last wrote down; nothing when none ever ran here."""
        path = self.root / "state.json"
        body = _read_json(path)
        if body is None:
            return None
        try:
            return Snapshot.from_json(body)
        except (TypeError, KeyError) as error:
            raise _unusable(path, f"is not complete: {error}") from error


def write_file(path: Path, content: str, *, mode: int = 0o600) -> None:
    """Replace the file's content atomically and durably; nobody else may read it at any moment."""
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
    """Make the names in this folder outlive a power cut: that a file has its content says nothing of its name."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


T = TypeVar("T")


def build_record(kind: type[T], body: object, path: Path) -> T:
    """One record of a state file; raises AirfleetError for one of a newer airfleet, which may mean more by it."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if not isinstance(body, dict):
        raise AirfleetError("is not a record", where=str(path), hint="put it back from a copy of the state folder")
    if unknown := sorted(body.keys() - names):
        raise AirfleetError(
            f"was written by a newer airfleet: {', '.join(unknown)}",
            where=str(path),
            hint="use the newest airfleet that was used on this fleet",
        )
    try:
        return kind(**body)
    except TypeError as error:
        hint = "put it back from a copy of the state folder"
        raise AirfleetError(f"is not complete: {error}", where=str(path), hint=hint) from None


def read_record(kind: type[T], path: Path) -> T | None:
    """The one record in a state file; None where there is no file."""
    body = _read_json(path)
    return None if body is None else build_record(kind, body, path)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        body = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise _unusable(path, f"is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise _unusable(path, "is not a JSON object")
    return body


def _parse_instance(path: Path, body: Mapping[str, Any]) -> Instance:
    if body.get("layout") != LAYOUT:
        raise _unusable(path, f"was made by another airfleet (layout {body.get('layout')}, this one has {LAYOUT})")
    try:
        return Instance(**body)
    except TypeError as error:
        raise _unusable(path, f"is not complete: {error}") from error


def _check_usable(path: Path, instance: Instance, *, airflow: str, postgres: str) -> None:
    if instance.postgres != postgres:
        raise _unusable(path, f"holds data of PostgreSQL {instance.postgres}, this one has {postgres}")
    if _version(instance.airflow) > _version(airflow):
        raise _unusable(path, f"was used by Airflow {instance.airflow}, newer than the installed {airflow}")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:3] if part.isdigit())


def _unusable(path: Path, what: str) -> AirfleetError:
    return AirfleetError(
        f"this state folder {what}",
        where=str(path),
        hint="use the airfleet and Airflow that made it, or start with an empty folder: --state NEW_FOLDER",
    )
