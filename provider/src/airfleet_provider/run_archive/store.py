"""Where archived runs are: a folder, or an object store that fsspec knows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from airfleet_provider.contract import archive_store
from airfleet_provider.contract.archive_store import ArchiveStoreError

MANIFESTS, INTENTS, DROPPED, HOLDS, DATA = "manifests", "intents", "dropped", "holds", "data"


class DamagedError(ArchiveStoreError):
    """A file of the archive is not what was written."""


class RunStore:
    """The files of an archive, by paths relative to its root. Every method raises StoreError."""

    def __init__(self, location: str) -> None:
        """Raises StoreError if there is no driver for the location."""
        self.location = location
        self.system, root = archive_store.open_store(location)
        self._root = root.rstrip("/")

    def locate(self, path: str) -> str:
        """Return the path as the file system takes it."""
        return f"{self._root}/{path}"

    def write(self, path: str, content: bytes) -> None:
        """Write a file as `archive_store.write` does. Only this user can read it on a disk of this host."""
        archive_store.write(self._join(path), content, is_private=True)

    def read(self, path: str) -> bytes:
        """Return the content of a file."""
        return archive_store.read(self._join(path))

    def holds(self, path: str) -> bool:
        """Return whether the file is there."""
        return archive_store.holds(self._join(path))

    def remove(self, path: str) -> None:
        """Remove a file, unless it is gone."""
        archive_store.remove(self._join(path))

    def _join(self, path: str) -> str:
        return f"{self.location.rstrip('/')}/{path}"

    def write_json(self, path: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file."""
        self.write(path, json.dumps(content, sort_keys=True).encode())

    def list_json(self, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the path and the content of each JSON file of a folder and those below, in the order of their names."""
        for path in self.list_paths(folder):
            yield path, json.loads(self.read(path))

    def list_paths(self, folder: str) -> Iterator[str]:
        """Yield the path of each JSON file of a folder and those below, in the order of their names."""
        try:
            self.system.invalidate_cache()
            found = sorted(self.system.find(self.locate(folder)), key=lambda one: str(one).rsplit("/", 1)[-1])
        except FileNotFoundError:
            return
        except Exception as error:
            raise ArchiveStoreError(f"cannot list {folder} in {self.location}: {error}") from error
        for one in found:
            if str(one).endswith(".json"):
                yield str(one).rsplit(f"{self._root.lstrip('/')}/", 1)[-1]


def name_data(table: str, month: str, dag_id: str, batch: str) -> str:
    """The path of a batch's rows of one table."""
    return f"{DATA}/{table}/month={month}/dag_id={quote(dag_id, safe='')}/{batch}.parquet"


def name_manifest(month: str, batch: str) -> str:
    return f"{MANIFESTS}/{month}/{batch}.json"


def name_intent(batch: str) -> str:
    return f"{INTENTS}/{batch}.json"


def name_dropped(batch: str) -> str:
    """The path of what says that a batch counts for nothing, even if its manifest is written later."""
    return f"{DROPPED}/{batch}.json"
