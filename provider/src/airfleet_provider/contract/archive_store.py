"""Stores archives of releases outside the database: in a folder, or in any store with an fsspec driver."""

from __future__ import annotations

import contextlib
import uuid
from typing import Any

DATABASE = "database"
SUFFIX = ".tar"
# Protocols in which a put is atomic, and a rename would copy.
OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "cos", "memory"})


class StoreError(Exception):
    """The store cannot be read or written now; a later attempt may succeed."""


class MissingError(StoreError):
    """The store answers, but does not have the archive."""


def locate(store: str, bundle: str, release: str) -> str:
    """Return the location of a release's archive in a store."""
    return f"{store.rstrip('/')}/{bundle}/{release}{SUFFIX}"


def write(location: str, archive: bytes) -> None:
    """Store an archive atomically; replace an archive that is there.

    Raises:
        StoreError: the store cannot be written.
    """
    system, path = _open(location)
    try:
        if OBJECT_STORES & _protocols(system):
            system.pipe_file(path, archive)
            return
        folder, name = path.rsplit("/", 1)
        system.makedirs(folder, exist_ok=True)
        draft = f"{folder}/.{name}.{uuid.uuid4().hex}"
        try:
            system.pipe_file(draft, archive)
            system.mv(draft, path)
        except BaseException:
            with contextlib.suppress(Exception):
                system.rm_file(draft)
            raise
    except Exception as error:
        raise StoreError(f"cannot write {location}: {error}") from error


def read(location: str) -> bytes:
    """Return the archive, which the caller must verify.

    Raises:
        MissingError: the store answers, but does not have the archive.
        StoreError: the store cannot be read.
    """
    system, path = _open(location)
    try:
        return bytes(system.cat_file(path))
    except FileNotFoundError as error:
        # A folder that is not mounted has no archives either: that is an error of the store, not a missing archive.
        if _has_root(system, path):
            raise MissingError(f"{location} is not there") from error
        raise StoreError(f"cannot read {location}: its folder is not there") from error
    except Exception as error:
        raise StoreError(f"cannot read {location}: {error}") from error


def holds(location: str) -> bool:
    """Return whether the store has the archive.

    Raises:
        StoreError: the store cannot be read.
    """
    system, path = _open(location)
    try:
        return bool(system.exists(path))
    except Exception as error:
        raise StoreError(f"cannot read {location}: {error}") from error


def remove(location: str) -> None:
    """Remove an archive; do nothing if it is gone already.

    Raises:
        StoreError: the store cannot be written.
    """
    system, path = _open(location)
    try:
        with contextlib.suppress(FileNotFoundError):
            system.rm_file(path)
    except Exception as error:
        raise StoreError(f"cannot remove {location}: {error}") from error


def _open(location: str) -> tuple[Any, str]:
    import fsspec  # noqa: PLC0415 - most platforms keep their releases in the database

    try:
        system, path = fsspec.core.url_to_fs(location)
    except (ImportError, ValueError) as error:
        raise StoreError(f"cannot use {location}: {error}") from error
    system.invalidate_cache()
    return system, str(path)


def _protocols(system: Any) -> set[str]:  # noqa: ANN401 - fsspec.AbstractFileSystem
    protocol = system.protocol
    return {protocol} if isinstance(protocol, str) else set(protocol)


def _has_root(system: Any, path: str) -> bool:  # noqa: ANN401 - fsspec.AbstractFileSystem
    return bool(OBJECT_STORES & _protocols(system)) or bool(system.isdir(path.rsplit("/", 1)[0]))
