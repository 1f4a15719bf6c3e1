"""The folder of backups of the embedded server: its list, its lock, and how a backup is checked and unpacked."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from airfleet.errors import AirfleetError
from airfleet.operations.backup.catalogue import Backup
from airfleet.workspace import file_lock

DESCRIPTION = "backup.json"
MANIFEST = "backup_manifest"
BASE = "base.tar.gz"
WAL = "pg_wal.tar.gz"
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Store:
    """A folder with one folder for each backup. Unfinished backups have other names, and are not listed."""

    root: Path

    def list(self) -> list[Backup]:
        """Return every complete backup, the oldest first."""
        found = (Backup.from_json(path.read_text()) for path in self.root.glob(f"[0-9]*Z/{DESCRIPTION}"))
        return sorted(found, key=lambda backup: backup.ended)

    def folder(self, backup: Backup) -> Path:
        return self.root / backup.name

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the exclusive right to make, restore and delete backups here.

        Raises:
            AirfleetError: Another process holds it.
        """
        self.root.mkdir(mode=0o711, parents=True, exist_ok=True)
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            file_lock.take(descriptor)
        except BlockingIOError as error:
            os.close(descriptor)
            raise AirfleetError("another backup or restore is running", where=str(self.root)) from error
        try:
            yield
        finally:
            os.close(descriptor)


def verify(folder: Path) -> None:
    """Check that the backup contains every file as the server sent it.

    Raises:
        AirfleetError: A file is missing or damaged.
    """
    for _ in _read_checked(folder):
        pass


def extract(folder: Path, data: Path) -> None:
    """Unpack a backup into an empty folder, and check each file.

    Raises:
        AirfleetError: A file is missing or damaged, or its path is outside of the folder.
    """
    for member, content in _read_checked(folder):
        target = data / member.name
        if not target.resolve().is_relative_to(data.resolve()):
            raise AirfleetError(f"the backup names a file outside the data: {member.name}", where=str(folder))
        if member.isdir():
            target.mkdir(mode=0o700, parents=True, exist_ok=True)
        elif content is not None:
            with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                while chunk := content.read(CHUNK):
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())


class _Checked:
    """A file that computes its digest while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        chunk = self._file.read(size)
        self.digest.update(chunk)
        return chunk


def _read_checked(folder: Path) -> Iterator[tuple[tarfile.TarInfo, _Checked | None]]:
    listed = json.loads((folder / MANIFEST).read_text())["Files"]
    missing = {entry["Path"]: entry["Checksum"] for entry in listed}
    with _open_tar(folder / BASE) as archive:
        for member in archive:
            if member.issym() or member.islnk():
                raise AirfleetError(f"the backup contains a link: {member.name}", where=str(folder))
            file = archive.extractfile(member) if member.isfile() else None
            content = _Checked(file) if file else None
            yield member, content
            if content:
                _read_to_end(content)
                wanted = missing.pop(member.name.removeprefix("./"), None)
                if wanted is not None and wanted != content.digest.hexdigest():
                    raise AirfleetError(f"the backup is damaged: {member.name}", where=str(folder))
    if missing:
        raise AirfleetError(f"the backup is incomplete: {next(iter(missing))} is missing", where=str(folder))
    with _open_tar(folder / WAL) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            member.name = f"pg_wal/{member.name}"
            yield member, _Checked(file) if file else None


@contextmanager
def _open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    # In stream mode, tarfile reads only the first of several gzip members.
    try:
        with gzip.open(path) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as archive:
            yield archive
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise AirfleetError(f"the backup is damaged: {error}", where=str(path)) from error


def _read_to_end(content: _Checked) -> None:
    while content.read(CHUNK):
        pass
