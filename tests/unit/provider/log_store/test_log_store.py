"""Agents of other hosts give their lines to a log store, which keeps each once, and only hosts of the fleet may."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from airfleet.workspace import certificate_authority
from airfleet_provider.agent_loops.server import Server, ServerTls
from airfleet_provider.log_index import wire
from airfleet_provider.log_index.day_indexes import DayIndexReader
from airfleet_provider.log_index.opensearch import name_index
from airfleet_provider.log_index.remote import Proof, RemoteLogReader, RemoteLogWriter
from airfleet_provider.log_index.store import LogQuery, LogStoreError, read_whole
from airfleet_provider.log_store import keeper as keeping
from airfleet_provider.log_store.keeper import Keeper
from airfleet_provider.log_store.process import BOUNDS, Committer
from airfleet_provider.log_store.service import LogStoreService
from log_hosts import BrokenWriter, LogHost, make_line

TOKEN = "token-of-the-fleet"


class Store:
    """A log store in threads of this process. `kill` leaves what kill -9 leaves: the index on the disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        authority = certificate_authority.load(certificate_authority.create("fleet", datetime.now(UTC)), where="")
        (root / "ca.pem").write_text(authority.pem)
        for host in ("store", "host1", "host2"):
            held = certificate_authority.issue(authority, host, (), datetime.now(UTC))
            (root / f"{host}.pem").write_text(held.certificate)
            (root / f"{host}.key").write_text(held.key.reveal())
        self.port = 0
        self.start()

    def start(self) -> None:
        self.writer = BrokenWriter(self.root / "store-index")
        keeper = Keeper(self.writer)
        self.committer = Committer(keeper, keep_days=30)
        service = LogStoreService(keeper, lambda: DayIndexReader(self.root / "store-index"), [TOKEN])
        tls = ServerTls(self.root / "store.pem", self.root / "store.key", authorities=self.root / "ca.pem")
        self.server = Server("127.0.0.1", self.port, {}, service.handlers, tls, BOUNDS)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.thread = threading.Thread(target=self.committer.run, daemon=True)
        self.thread.start()

    def kill(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.end_connections()
        self.writer.close()
        self.committer.stop()
        self.thread.join()

    def end_connections(self) -> None:
        with self.server._lock:
            for request in list(self.server._open):
                self.server._end(request)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def connect(self, host: str) -> RemoteLogWriter:
        proof = Proof(self.root / "ca.pem", self.root / f"{host}.pem", self.root / f"{host}.key")
        return RemoteLogWriter(self.url, proof)

    def search(self, token: str = TOKEN, *, first: str = "") -> RemoteLogReader:
        urls = [first, self.url] if first else [self.url]
        return RemoteLogReader(urls, Proof(self.root / "ca.pem"), token)

    def texts(self) -> list[str]:
        return [hit.text for hit in self.search().search(LogQuery(), 1000).hits]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(keeping, "GATHER_S", 0.01)
    made = Store(tmp_path)
    yield made
    made.kill()


def test_lines_of_a_host_are_found_on_others_as_they_were_written(store: Store) -> None:
    writer = store.connect("host1")
    lines = [make_line(number) for number in range(1, 6)]
    writer.add(lines)
    writer.commit()
    found = store.search().search(LogQuery(text="line", dag="sales"), 3)
    assert [(hit.text, hit.at, hit.origin) for hit in found.hits] == [
        (line.text, line.at, line.origin) for line in lines[2:]
    ]
    assert found.is_cut
    [source] = store.search().find_sources(lines[0].origin)
    assert list(read_whole(store.search(), lines[0].origin, source)) == [line.raw for line in lines]


def test_lines_that_are_sent_again_are_kept_once(store: Store) -> None:
    for count in (2, 5):
        writer = store.connect("host1")
        writer.add([make_line(number) for number in range(1, count + 1)])
        writer.commit()
    assert store.texts() == [f"line {number}" for number in range(1, 6)]


def test_a_host_speaks_only_for_itself(store: Store) -> None:
    writer = store.connect("host2")
    writer.add([make_line(1, "host1:a")])
    with pytest.raises(LogStoreError, match="another host"):
        writer.commit()
    lied = replace(make_line(1, "host2:a"), origin=replace(make_line(1).origin, host="host1"))
    writer.close()
    writer.add([lied])
    writer.commit()
    [hit] = store.search().search(LogQuery(), 10).hits
    assert hit.origin.host == "host2"


def test_who_is_no_host_of_the_fleet_sends_nothing(store: Store) -> None:
    writer = RemoteLogWriter(store.url, Proof(store.root / "ca.pem"))
    writer.add([make_line(1)])
    with pytest.raises(LogStoreError, match="403"):
        writer.commit()


def test_a_long_body_is_read_from_hosts_of_the_fleet_only(store: Store) -> None:
    lines = [replace(make_line(number), raw=secrets.token_hex(40_000)) for number in range(1, 4)]
    writer = RemoteLogWriter(store.url, Proof(store.root / "ca.pem"))
    writer.add(lines)
    with pytest.raises(LogStoreError, match=r"413|Broken pipe|reset|EOF"):
        writer.commit()
    writer = store.connect("host1")
    writer.add(lines)
    writer.commit()


def test_who_has_no_token_finds_nothing(store: Store) -> None:
    for token in ("", "other"):
        with pytest.raises(LogStoreError, match="403"):
            store.search(token).search(LogQuery(), 10)


def test_a_store_that_cannot_write_is_sent_the_lines_again(store: Store) -> None:
    writer = store.connect("host1")
    store.writer.fail_before_commit = True
    writer.add([make_line(1)])
    with pytest.raises(LogStoreError, match="no space left"):
        writer.commit()
    store.writer.fail_before_commit = False
    writer.close()
    writer.add([make_line(1), make_line(2)])
    writer.commit()
    assert store.texts() == ["line 1", "line 2"]


def test_an_agent_delivers_each_line_once_over_deaths_of_the_store_and_of_itself(store: Store, tmp_path: Path) -> None:
    host = LogHost(tmp_path / "host", make_store=lambda: store.connect("host1"))
    host.print("before")
    host.take()
    store.kill()
    path = host.print("while it is down")
    with pytest.raises(LogStoreError):
        host.take()
    host.restart()
    store.start()
    host.take()
    host.print("after")
    host.take()
    # The agent dies before it notes how far it came. It reads the line again, and the store leaves it out.
    host.restart()
    host.print("in the end")
    host.take()
    assert store.texts() == ["before", "while it is down", "after", "in the end"]
    path.unlink()
    [origin] = {hit.origin for hit in store.search().search(LogQuery(), 10).hits}
    [source] = store.search().find_sources(origin)
    assert len(list(read_whole(store.search(), origin, source))) == 4


def test_an_agent_of_a_quiet_host_whose_connection_has_ended_makes_another(store: Store) -> None:
    writer = store.connect("host1")
    for number in (1, 2):
        writer.add([make_line(number)])
        writer.commit()
        store.end_connections()
    assert store.texts() == ["line 1", "line 2"]


def test_a_store_that_is_down_is_passed_over(store: Store) -> None:
    writer = store.connect("host1")
    writer.add([make_line(1)])
    writer.commit()
    found = store.search(first="https://127.0.0.1:1").search(LogQuery(), 10)
    assert len(found.hits) == 1


def test_an_agent_sends_to_the_next_host_of_a_store_if_one_is_down(store: Store) -> None:
    proof = Proof(store.root / "ca.pem", store.root / "host1.pem", store.root / "host1.key")
    writer = RemoteLogWriter(f"https://127.0.0.1:1 {store.url}", proof)
    writer.add([make_line(1)])
    writer.commit()
    assert store.texts() == ["line 1"]


def test_an_error_that_nobody_foresaw_is_told_to_the_agents_and_stops_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = store.connect("host1")
    commit = store.writer.commit
    monkeypatch.setattr(store.writer, "commit", lambda: 1 // 0)
    writer.add([make_line(1)])
    with pytest.raises(LogStoreError, match="ZeroDivisionError"):
        writer.commit()
    monkeypatch.setattr(store.writer, "commit", commit)
    writer.commit()
    assert store.texts() == ["line 1"]


def test_lines_of_many_agents_are_in_few_commits(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "GATHER_S", 0.3)
    commits: list[float] = []
    store.writer.after_commit = lambda: commits.append(time.monotonic())

    def send(source: str) -> None:
        writer = store.connect("host1")
        writer.add([make_line(1, f"host1:{source}")])
        writer.commit()

    threads = [threading.Thread(target=send, args=(name,)) for name in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.texts()) == 8
    assert len(commits) < 8


@pytest.mark.parametrize("at", [-1, 1 << 55, (1 << 62) - 1])
def test_no_host_sends_a_time_that_stops_the_lines_of_others(at: int) -> None:
    [line] = wire.unpack_lines(wire.pack_lines([replace(make_line(1), at=at)]), "host1")
    name_index("logs", line.at)
    # What OpenSearch gets as `offset`, with a count of lines.
    assert (line.at << 10) + (1 << 32) < 1 << 63


@pytest.mark.parametrize("body", [b"", b"x", b"x\x9c", b"x\x9c\x03\x00\x00\x00\x00\x01"])
def test_what_is_no_lines_is_refused(body: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.unpack_lines(body, "host1")


@pytest.mark.parametrize(
    "change", [{"offset": 1 << 63}, {"at": 1 << 63}, {"level": "loud"}, {"offset": -5}, {"offset": True}]
)
def test_numbers_and_levels_that_the_index_does_not_know_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(wire.WireError):
        wire.unpack_lines(wire.pack_lines([replace(make_line(1), **change)]), "host1")  # type: ignore[arg-type]
