"""A log is read from the store that named its files, and is never shown as whole if that store goes away meanwhile."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from airfleet_provider.log_index import remote, wire
from airfleet_provider.log_index.store import LogStoreError
from airfleet_provider.log_search.task_logs import IndexedTaskLogs
from log_hosts import TRY


class Stores:
    """Two log stores with an index each, in which the same file has another name."""

    def __init__(self) -> None:
        self.down: set[str] = set()

    def ask(self, address: str, path: str, body: bytes) -> bytes:
        if address in self.down:
            raise LogStoreError(f"{address} is down")
        if path == wire.SOURCES:
            return json.dumps([f"host1:{address}"]).encode()
        _, source, after = wire.read_attempt(json.loads(body))
        return json.dumps([[after + 1, "line"]] if source == f"host1:{address}" and after < 2 else []).encode()


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> Stores:
    stores = Stores()
    monkeypatch.setattr(remote._Store, "ask", lambda own, path, body: stores.ask(own._address, path, body))
    return stores


def make_logs(tmp_path: Path) -> IndexedTaskLogs:
    reader = remote.RemoteLogReader(["https://a:1", "https://b:1"], remote.Proof(tmp_path), "")
    return IndexedTaskLogs(tmp_path, lambda: reader, has_hosts=False, now=lambda: datetime.now(UTC))


def test_pages_come_from_the_store_that_named_the_file(stores: Stores, tmp_path: Path) -> None:
    logs = make_logs(tmp_path)
    _, [lines] = logs.stream(TRY, None)
    stores.down = {"a"}
    logs.stream(TRY, None)  # another log, which the other store names
    stores.down = set()
    assert list(lines) == ["line", "line"]


def test_a_log_says_that_its_store_has_gone(stores: Stores, tmp_path: Path) -> None:
    _, [lines] = make_logs(tmp_path).stream(TRY, None)
    assert next(lines) == "line"
    stores.down = {"a"}
    [said] = lines
    assert said == "airfleet: the rest of this log cannot be read now: the log store that has host1:a does not answer"
