"""Where archived runs are: a folder, or an object store that fsspec knows. What is written is there when it returns."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fsspec

MANIFESTS, INTENTS, HOLDS, DATA = "manifests", "intents", "holds", "data"


class ArchiveStoreError(RuntimeError):
    """The store cannot be read or written, or what it gives is not what was written."""


class RunStore:
    """The files of an archive, by paths relative to its root."""

    def __init__(self, location: str) -> None:
        """Raises ArchiveStoreError if there is no driver for the location."""
        try:
            self._system, root = fsspec.core.url_to_fs(location)
        except (ImportError, ValueError) as error:
            raise ArchiveStoreError(f"cannot use {location}: {error}") from error
        self._root = str(root).rstrip("/")
        protocol = self._system.protocol
        self._is_local = "file" in ((protocol,) if isinstance(protocol, str) else protocol)
        self.location = location

    @property
    def system(self) -> Any:  # noqa: ANN401 - fsspec.AbstractFileSystem
        return self._system

    def locate(self, path: str) -> str:
        """The path as the file system takes it."""
        return f"{self._root}/{path}"

    def write(self, path: str, content: bytes) -> None:
        """Write a file as a whole, or not at all; on a disk of this host it has reached the disk."""
        try:
            if self._is_local:
                _write_through(Path(self.locate(path)), content)
            else:  # a put of an object store is atomic
                self._system.pipe_file(self.locate(path), content)
        except Exception as error:
            raise ArchiveStoreError(f"cannot write {path} in {self.location}: {error}") from error

    def read(self, path: str) -> bytes:
        """The content of a file."""
        try:
            return bytes(self._system.cat_file(self.locate(path)))
        except Exception as error:
            raise ArchiveStoreError(f"cannot read {path} in {self.location}: {error}") from error

    def holds(self, path: str) -> bool:
        """Whether a file is there."""
        try:
            self._system.invalidate_cache()
            return bool(self._system.exists(self.locate(path)))
        except Exception as error:
            raise ArchiveStoreError(f"cannot read {path} in {self.location}: {error}") from error

    def remove(self, path: str) -> None:
        """Remove a file, unless it is gone."""
        try:
            with suppress(FileNotFoundError):
                self._system.rm_file(self.locate(path))
        except Exception as error:
            raise ArchiveStoreError(f"cannot remove {path} in {self.location}: {error}") from error

    def write_json(self, path: str, content: Mapping[str, Any]) -> None:
        self.write(path, json.dumps(content, sort_keys=True).encode())

    def list_json(self, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The paths and contents of the JSON files of a folder and those below, in the order of their names."""
        try:
            self._system.invalidate_cache()
            found = sorted(self._system.find(self.locate(folder)), key=lambda one: str(one).rsplit("/", 1)[-1])
        except FileNotFoundError:
            return
        except Exception as error:
            raise ArchiveStoreError(f"cannot list {folder} in {self.location}: {error}") from error
        for one in found:
            if str(one).endswith(".json"):
                path = str(one).rsplit(f"{self._root.lstrip('/')}/", 1)[-1]
                yield path, json.loads(self.read(path))


def name_data(table: str, month: str, dag_id: str, batch: str) -> str:
    """The path of a batch's rows of one table."""
    return f"{DATA}/{table}/month={month}/dag_id={quote(dag_id, safe='')}/{batch}.parquet"


def name_manifest(month: str, batch: str) -> str:
    return f"{MANIFESTS}/{month}/{batch}.json"


def name_intent(batch: str) -> str:
    return f"{INTENTS}/{batch}.json"


def _write_through(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        number = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(number)
        draft.rename(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
