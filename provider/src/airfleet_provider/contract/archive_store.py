"""Stores releases and archived runs outside the database: in a folder, or in any store with an fsspec driver."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path
from typing import Any

DATABASE = "database"
SUFFIX = ".tar"
# Protocols in which a put is atomic, and a rename would copy.
OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "cos", "memory"})


class ArchiveStoreError(Exception):
    """The store cannot be read or written now; a later attempt may succeed."""


class MissingError(ArchiveStoreError):
    """The store answers, but does not have the file."""


def locate(store: str, bundle: str, release: str) -> str:
    """Return the location of a release's archive in a store."""
    return f"{store.rstrip('/')}/{bundle}/{release}{SUFFIX}"


def write(location: str, content: bytes, *, is_private: bool = False) -> None:
    """Store a file as a whole or not at all; replace a file that is there.

    If the store is a folder of this machine, the file is on the disk when this function returns. With `is_private`, no
    other user of this machine may then read the file, nor its folder if this function makes it.

    Raises:
        ArchiveStoreError: the store cannot be written.
    """
    system, path = open_store(location)
    try:
        if OBJECT_STORES & _protocols(system):
            system.pipe_file(path, content)
        elif "file" in _protocols(system):
            _write_to_disk(Path(path), content, is_private=is_private)
        else:
            _write_and_move(system, path, content)
    except Exception as error:
        raise ArchiveStoreError(f"cannot write {location}: {error}") from error


def _write_to_disk(path: Path, content: bytes, *, is_private: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if is_private else 0o777)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        number = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if is_private else 0o666)
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(number)
        draft.rename(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    # The new name outlives a power cut, too.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write_and_move(system: Any, path: str, content: bytes) -> None:  # noqa: ANN401 - fsspec.AbstractFileSystem
    folder, name = path.rsplit("/", 1)
    system.makedirs(folder, exist_ok=True)
    draft = f"{folder}/.{name}.{uuid.uuid4().hex}"
    try:
        system.pipe_file(draft, content)
        system.mv(draft, path)
    except BaseException:
        with contextlib.suppress(Exception):
            system.rm_file(draft)
        raise


def read(location: str) -> bytes:
    """Return the content of a file, which the caller must verify.

    Raises:
        MissingError: the store answers, but does not have the file.
        ArchiveStoreError: the store cannot be read.
    """
    system, path = open_store(location)
    try:
        return bytes(system.cat_file(path))
    except FileNotFoundError as error:
        # A folder that is not mounted has no files either: that is an error of the store, not a missing file.
        if _has_root(system, path):
            raise MissingError(f"{location} is not there") from error
        raise ArchiveStoreError(f"cannot read {location}: its folder is not there") from error
    except Exception as error:
        raise ArchiveStoreError(f"cannot read {location}: {error}") from error


def holds(location: str) -> bool:
    """Return whether the store has the file.

    Raises:
        ArchiveStoreError: the store cannot be read.
    """
    system, path = open_store(location)
    try:
        return bool(system.exists(path))
    except Exception as error:
        raise ArchiveStoreError(f"cannot read {location}: {error}") from error


def remove(location: str) -> None:
    """Remove a file; do nothing if it is gone already.

    Raises:
        ArchiveStoreError: the store cannot be written.
    """
    system, path = open_store(location)
    try:
        with contextlib.suppress(FileNotFoundError):
            system.rm_file(path)
    except Exception as error:
        raise ArchiveStoreError(f"cannot remove {location}: {error}") from error


def open_store(location: str) -> tuple[Any, str]:
    """Return the file system of fsspec for a location, which sees what others wrote, and the path in it.

    Raises:
        ArchiveStoreError: there is no driver for the location.
    """
    import fsspec  # noqa: PLC0415 - most platforms keep their releases in the database

    try:
        system, path = fsspec.core.url_to_fs(location)
    except (ImportError, ValueError) as error:
        raise ArchiveStoreError(f"cannot use {location}: {error}") from error
    system.invalidate_cache()
    return system, str(path)


def _protocols(system: Any) -> set[str]:  # noqa: ANN401 - fsspec.AbstractFileSystem
    protocol = system.protocol
    return {protocol} if isinstance(protocol, str) else set(protocol)


def _has_root(system: Any, path: str) -> bool:  # noqa: ANN401 - fsspec.AbstractFileSystem
    return bool(OBJECT_STORES & _protocols(system)) or bool(system.isdir(path.rsplit("/", 1)[0]))
