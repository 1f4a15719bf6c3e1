"""Patroni without its fixed pauses at a switch-over, and with all others."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from airfleet.components.postgresql import run_patroni


class Server:
    """A server that stops at once, as `patroni.postgresql.Postgresql` does it."""

    def stop(self, mode: str = "fast", *, on_shutdown: Callable[[int, int], Any] | None = None) -> str:
        if on_shutdown:
            on_shutdown(7, 6)
        return mode


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the list of all sleeps, which take no time."""
    made: list[float] = []
    monkeypatch.setattr(time, "sleep", made.append)
    return made


def shorten() -> tuple[SimpleNamespace, SimpleNamespace]:
    class Stopped(Server):
        pass

    server, ha = SimpleNamespace(STOP_POLLING_INTERVAL=1, Postgresql=Stopped), SimpleNamespace(time=time)
    run_patroni.shorten_stops(server, ha)
    return server, ha


def test_the_leader_s_key_is_given_back_soon_after_the_server_has_stopped(slept: list[float]) -> None:
    server, ha = shorten()
    seen: list[tuple[int, int]] = []

    def give_back(checkpoint: int, before: int) -> None:
        ha.time.sleep(1)
        seen.append((checkpoint, before))

    assert server.Postgresql().stop("fast", on_shutdown=give_back) == "fast"
    assert (seen, slept) == ([(7, 6)], [run_patroni.CATCH_UP_S])
    assert server.STOP_POLLING_INTERVAL == run_patroni.POLL_S


def test_every_other_pause_is_patroni_s(slept: list[float]) -> None:
    server, ha = shorten()
    server.Postgresql().stop("immediate")
    server.Postgresql().stop(on_shutdown=lambda *_: None)
    ha.time.sleep(2)
    assert slept == [2], "in these two seconds another host takes the leader's key"
    assert ha.time.time() == pytest.approx(time.time(), abs=60)


def test_a_pause_is_patroni_s_again_after_an_error(slept: list[float]) -> None:
    server, ha = shorten()

    def fail(*_: int) -> None:
        raise OSError("etcd does not answer")

    with pytest.raises(OSError, match="etcd"):
        server.Postgresql().stop(on_shutdown=fail)
    ha.time.sleep(2)
    assert slept == [2]


class Etcd:
    """`patroni.dcs.etcd3`, as far as the guard of the leader's key looks at it."""

    class Etcd3:
        leader_path = sync_path = history_path = None

        def get_cluster(self) -> None: ...

    class PatroniEtcd3Client:
        def call_rpc(self, method: str, fields: dict[str, Any]) -> dict[str, Any]:
            return fields

    base64_encode = staticmethod(str)


def run(monkeypatch: pytest.MonkeyPatch, etcd: object) -> tuple[list[str], SimpleNamespace]:
    ran: list[str] = []
    ha = SimpleNamespace(time=time)
    for name, module in (
        ("patroni", SimpleNamespace()),
        ("patroni.postgresql", SimpleNamespace(Postgresql=Server)),
        ("patroni.ha", ha),
        ("patroni.dcs.etcd3", etcd),
        ("patroni.__main__", SimpleNamespace(main=lambda: ran.append("patroni"))),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    run_patroni.main()
    return ran, ha


def test_a_patroni_whose_pauses_are_built_in_another_way_runs_with_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran, ha = run(monkeypatch, Etcd)
    assert ran == ["patroni"]
    assert ha.time is time
    assert "takes longer" in capsys.readouterr().err


def test_a_patroni_whose_leader_s_key_cannot_be_guarded_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="may lose confirmed data"):
        run(monkeypatch, SimpleNamespace(PatroniEtcd3Client=Etcd.PatroniEtcd3Client, base64_encode=str))


def test_other_transactions_are_patroni_s() -> None:
    class Client(Etcd.PatroniEtcd3Client):
        _etcd3 = SimpleNamespace(leader_path="leader")

    run_patroni.guard_leader(SimpleNamespace(PatroniEtcd3Client=Client, Etcd3=Etcd.Etcd3, base64_encode=str))
    for fields in (
        {"compare": [{"key": "leader", "target": "VALUE", "value": "a"}], "success": [{"request_delete_range": {}}]},
        {"compare": [{"key": "sync", "target": "CREATE", "create_revision": "0"}], "success": []},
    ):
        assert Client().call_rpc("/kv/txn", fields) == fields
    assert Client().call_rpc("/kv/put", {"key": "leader"}) == {"key": "leader"}
