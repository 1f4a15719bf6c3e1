"""Which host may make the leader's key, with a real etcd and the transactions that Patroni 4.1.5 sends."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from airfleet.components.postgresql import run_patroni
from airfleet.runners.local import ports
from deadline import COMMAND_S, REQUEST_S, wait_until

if shutil.which("etcd") is None:
    pytest.skip("there is no etcd here: tools/etcd installs it", allow_module_level=True)

LEADER, SYNC, HISTORY = "/airfleet/postgresql/leader", "/airfleet/postgresql/sync", "/airfleet/postgresql/history"


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Store:
    """Keys of etcd, as somebody else writes and reads them."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, method: str, fields: dict[str, Any]) -> dict[str, Any]:
        answer = httpx.post(f"{self.url}/v3{method}", json=fields, timeout=REQUEST_S)
        return dict(answer.raise_for_status().json())

    def write(self, key: str, value: str) -> None:
        self.ask("/kv/put", {"key": encode(key), "value": encode(value)})

    def remove(self, key: str) -> None:
        self.ask("/kv/deleterange", {"key": encode(key)})

    def read(self, key: str) -> str:
        found = self.ask("/kv/range", {"key": encode(key)}).get("kvs", [])
        return base64.b64decode(found[0]["value"]).decode() if found else ""

    def read_version(self, key: str) -> str | None:
        found = self.ask("/kv/range", {"key": encode(key)}).get("kvs", [])
        return str(found[0]["mod_revision"]) if found else None


class Dcs:
    """A host as Patroni sees it: what it is called, and its view of the cluster."""

    leader_path, sync_path, history_path = LEADER, SYNC, HISTORY
    ttl = 20

    def __init__(self, name: str, store: Store, *, is_synchronous: bool = True) -> None:
        self._name, self._store, self._is_synchronous = name, store, is_synchronous

    def get_cluster(self) -> SimpleNamespace:
        """Renew the view."""
        leader, _, standbys = self._store.read(SYNC).partition(":")
        sync = SimpleNamespace(
            version=self._store.read_version(SYNC),
            leader=leader,
            matches=lambda name, _: name in (leader, *standbys.split(",")),
        )
        history = self._store.read_version(HISTORY)
        return SimpleNamespace(
            sync=sync,
            history=history and SimpleNamespace(version=history),
            config=SimpleNamespace(data={"synchronous_mode": self._is_synchronous}),
            failover=None,
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder: Path = tmp_path_factory.mktemp("etcd")
    clients, peers = (f"http://127.0.0.1:{port}" for port in ports.find_several(2))
    words = {
        "data-dir": str(folder / "data"),
        "listen-client-urls": clients,
        "advertise-client-urls": clients,
        "listen-peer-urls": peers,
        "initial-advertise-peer-urls": peers,
        "initial-cluster": f"default={peers}",
    }
    with (folder / "log").open("w") as log:
        argv = ["etcd", *(f"--{name}={value}" for name, value in words.items())]
        process = subprocess.Popen(argv, stdout=log, stderr=log)
        try:
            wait_until(lambda: is_healthy(clients), "etcd answers", seen=(folder / "log").read_text)
            yield Store(clients)
        finally:
            process.terminate()
            process.wait(COMMAND_S)


def is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=REQUEST_S).json()["health"] == "true"
    except (httpx.HTTPError, ValueError):
        return False


@pytest.fixture
def store(server: Store) -> Store:
    """A cluster that db1 led, with db2 as its standby, whose leader's key is away."""
    for key in (LEADER, SYNC, HISTORY):
        server.remove(key)
    server.write(SYNC, "db1:db2")
    return server


class Client:
    """Patroni's client of etcd, without its cache."""

    def __init__(self, dcs: Dcs, store: Store) -> None:
        self._etcd3, self._store = dcs, store

    def call_rpc(self, method: str, fields: dict[str, Any], retry: object = None) -> dict[str, Any]:
        return self._store.ask(method, fields)


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    class Guarded(Client):
        pass

    # So that it is Patroni's own again after the test.
    monkeypatch.setattr(Dcs, "get_cluster", Dcs.get_cluster)
    run_patroni.guard_leader(SimpleNamespace(PatroniEtcd3Client=Guarded, Etcd3=Dcs, base64_encode=encode))
    return Guarded


def renew(client: Client, name: str) -> bool:
    """Renew the claim of a host that believes that it leads, as `Etcd3._update_leader` does."""
    put = {"request_put": {"key": encode(LEADER), "value": encode(name)}}
    absent = {"key": encode(LEADER), "target": "CREATE", "create_revision": "0"}
    own = {"key": encode(LEADER), "target": "VALUE", "value": encode(name)}
    again = {"request_txn": {"compare": [absent], "success": [put]}}
    answer = client.call_rpc("/kv/txn", {"compare": [own], "success": [put], "failure": [again]})
    nested = answer.get("responses", [{}])[0].get("response_txn", {})
    return bool(answer.get("succeeded") or nested.get("succeeded"))


def claim(client: Client, name: str) -> bool:
    """Take the key in a race, as `put` with `create_revision` does."""
    put = {"request_put": {"key": encode(LEADER), "value": encode(name)}}
    absent = {"target": "CREATE", "create_revision": "0", "key": encode(LEADER)}
    return bool(client.call_rpc("/kv/txn", {"compare": [absent], "success": [put]}).get("succeeded"))


def promote(store: Store, client: Client, dcs: Dcs) -> None:
    """Let db2 take over, as Patroni does it: the key, the state of synchronous replication, later the history."""
    dcs.get_cluster()
    assert claim(client, "db2")
    store.write(SYNC, "db2:")
    store.write(HISTORY, "[[1, 100, 'no recovery target specified']]")


def test_a_primary_that_was_frozen_does_not_lead_again_while_its_successor_s_key_is_away(
    store: Store, guarded: type[Client]
) -> None:
    former, successor = Dcs("db1", store), Dcs("db2", store)
    former.get_cluster()
    promote(store, guarded(successor, store), successor)
    store.remove(LEADER)  # as an etcd leader does that was frozen too

    assert renew(Client(former, store), "db1"), "Patroni alone lets it lead: what db2 has confirmed is lost"
    store.remove(LEADER)
    assert not renew(guarded(former, store), "db1")
    assert not claim(guarded(former, store), "db1")
    successor.get_cluster()
    assert renew(guarded(successor, store), "db2")
    assert store.read(LEADER) == "db2"


def test_a_primary_whose_claim_ended_makes_it_again_if_nobody_was_promoted(store: Store, guarded: type[Client]) -> None:
    leader = Dcs("db1", store)
    leader.get_cluster()
    assert renew(guarded(leader, store), "db1")
    assert renew(guarded(leader, store), "db1"), "and renews it"
    assert store.read(LEADER) == "db1"


def test_nobody_makes_the_key_by_a_view_that_is_too_old(store: Store, guarded: type[Client]) -> None:
    leader = Dcs("db1", store)
    assert not renew(guarded(leader, store), "db1")
    assert not claim(guarded(leader, store), "db1")


def test_a_former_primary_that_sees_the_promotion_does_not_claim_either(store: Store, guarded: type[Client]) -> None:
    store.write(SYNC, "db2:db3")
    former, standby = Dcs("db1", store), Dcs("db3", store)
    view = former.get_cluster()
    assert not claim(guarded(former, store), "db1")
    view.failover = SimpleNamespace(candidate="db1")
    assert claim(guarded(former, store), "db1"), "a person asks for it, and accepts losses"
    store.remove(LEADER)
    standby.get_cluster()
    assert claim(guarded(standby, store), "db3")


def make_former_primary(store: Store) -> Dcs:
    """Return a host without synchronous replication, after whose view of the cluster another one was promoted."""
    store.remove(SYNC)
    former = Dcs("db1", store, is_synchronous=False)
    former.get_cluster()
    store.write(HISTORY, "[[1, 100, 'no recovery target specified']]")
    return former


def test_without_synchronous_replication_the_history_says_that_another_host_was_promoted(
    store: Store, guarded: type[Client]
) -> None:
    former = make_former_primary(store)
    assert not renew(guarded(former, store), "db1")
    former.get_cluster()
    assert renew(guarded(former, store), "db1")


def test_who_asks_a_former_primary_for_the_cluster_does_not_renew_the_view_that_it_goes_by(
    store: Store, guarded: type[Client]
) -> None:
    """`airfleet status` asks each host, and Patroni answers in a thread of its own."""
    former = make_former_primary(store)
    with ThreadPoolExecutor(1) as api:
        api.submit(former.get_cluster).result()
    assert not renew(guarded(former, store), "db1")
    assert not claim(guarded(former, store), "db1")


def test_a_view_ends_and_where_a_newer_one_fails_there_is_none(store: Store, guarded: type[Client]) -> None:
    old, failed = Dcs("db1", store), Dcs("db1", store)
    old.ttl = 0
    old.get_cluster()
    assert not renew(guarded(old, store), "db1")
    failed.get_cluster()
    failed._store = Store("http://127.0.0.1:1")
    with pytest.raises(httpx.HTTPError):
        failed.get_cluster()
    assert not renew(guarded(failed, store), "db1")
