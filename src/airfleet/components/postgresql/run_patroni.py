"""Run Patroni, with two changes (ADR 42). Patroni's own Python runs this text.

*The leader's key.* A primary that was frozen wakes with the view of then, and believes that it leads. Where the key of
its successor is away for a moment, Patroni makes the key anew for whoever asks first. That has happened once; it fits
that etcd 3.4.23 takes the key away itself, where an etcd leader that was frozen too has all leases end. Then the former
primary leads again, and what its successor has confirmed is lost. Here a host makes the key only if nobody has been
promoted since the view that it goes by: a promotion writes the key of synchronous replication before, and the history
of timelines after. Patroni's own `cluster` is not that view: whoever asks its REST API for the cluster renews it, also
while the thread that decides still goes by an older one.

*Pauses.* A switch-over takes as long as PostgreSQL needs.

Patroni looks once a second whether the server that it stops has stopped, and then waits another second before it lets
the replica take over. Nobody takes writes meanwhile. Here it looks ten times a second. It does not rely on the second:
afterwards it asks the replica whether it has received everything, and if not, it waits until the server's last process
has ended.
"""

from __future__ import annotations

import functools
import importlib
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

POLL_S = 0.1
# Seconds in which a replica that follows receives the last bytes. A primary stops only after it has sent them.
CATCH_UP_S = 0.2


class PatientClock:
    """Stands for the module `time`. Within `hurry`, no sleep is longer than `CATCH_UP_S`."""

    def __init__(self) -> None:
        self._own = threading.local()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the module has
        return getattr(time, name)

    def sleep(self, seconds: float) -> None:
        """Sleep, at most as long as this thread may now."""
        time.sleep(min(seconds, CATCH_UP_S) if getattr(self._own, "hurries", False) else seconds)

    def hurry(self, do: Any) -> Any:  # noqa: ANN401 - a function of Patroni's
        """Return a function that does the same in a hurry."""

        @functools.wraps(do)
        def hurried(*words: Any, **options: Any) -> Any:  # noqa: ANN401 - Patroni's own
            self._own.hurries = True
            try:
                return do(*words, **options)
            finally:
                self._own.hurries = False

        return hurried


def shorten_stops(server: Any, ha: Any) -> None:  # noqa: ANN401 - the modules patroni.postgresql and patroni.ha
    """Let Patroni notice at once that its server has stopped.

    Raises:
        AttributeError: This version does it in another way, and is left alone.
    """
    clock, stop = PatientClock(), server.Postgresql.stop
    if not hasattr(server, "STOP_POLLING_INTERVAL") or ha.time is not time:
        raise AttributeError("it waits in another way")
    server.STOP_POLLING_INTERVAL, ha.time = POLL_S, clock

    @functools.wraps(stop)
    def stop_soon(self: Any, *words: Any, on_shutdown: Any = None, **options: Any) -> Any:  # noqa: ANN401 - Patroni's
        return stop(self, *words, on_shutdown=clock.hurry(on_shutdown) if on_shutdown else None, **options)

    server.Postgresql.stop = stop_soon


def guard_leader(etcd3: Any) -> None:  # noqa: ANN401 - the module patroni.dcs.etcd3
    """Let the client of etcd make the leader's key only if nobody was promoted since the view of its host.

    Raises:
        AttributeError: This version does it in another way, and is left alone.
    """
    client, encode = etcd3.PatroniEtcd3Client, etcd3.base64_encode
    ask, look = client.call_rpc, etcd3.Etcd3.get_cluster
    if not all(hasattr(etcd3.Etcd3, name) for name in ("leader_path", "sync_path", "history_path")):
        raise AttributeError("it names its keys in another way")

    @functools.wraps(look)
    def look_and_remember(self: Any) -> Any:  # noqa: ANN401 - Patroni's own
        views = vars(self).setdefault("_views", threading.local())
        views.cluster, views.ends = None, 0.0
        views.cluster = look(self)
        views.ends = time.time() + self.ttl
        return views.cluster

    @functools.wraps(ask)
    def ask_with_care(self: Any, method: str, fields: Mapping[str, Any], *words: Any, **options: Any) -> Any:  # noqa: ANN401
        if method == "/kv/txn":
            fields = _add_conditions(
                fields, encode(self._etcd3.leader_path), lambda: _list_conditions(self._etcd3, encode)
            )
        return ask(self, method, fields, *words, **options)

    client.call_rpc, etcd3.Etcd3.get_cluster = ask_with_care, look_and_remember


def _add_conditions(fields: Mapping[str, Any], leader: str, conditions: Any) -> dict[str, Any]:  # noqa: ANN401 - a function
    """Return a transaction of etcd with more conditions where it makes the key `leader`, also in its second attempt."""
    compared, failure = list(fields["compare"]), list(fields.get("failure", ()))
    if any(one["key"] == leader and one["target"] == "CREATE" for one in compared):
        compared += conditions()
    failure = [
        {**one, "request_txn": _add_conditions(one["request_txn"], leader, conditions)} if "request_txn" in one else one
        for one in failure
    ]
    return {**fields, "compare": compared, **({"failure": failure} if failure else {})}


def _list_conditions(dcs: Any, encode: Any) -> list[dict[str, str]]:  # noqa: ANN401 - Patroni's own
    """Return the conditions of etcd that say that nobody was promoted since this thread's view of the cluster."""
    views: Any = getattr(dcs, "_views", None)
    view = getattr(views, "cluster", None)
    if view is None or views.ends <= time.time() or _is_superseded(view, dcs._name):
        # Nothing is made in a revision below zero.
        return [{"key": encode(dcs.leader_path), "target": "CREATE", "create_revision": "-1"}]
    found = []
    for path, version in (
        (dcs.sync_path, view.sync.version if view.sync else None),
        (dcs.history_path, view.history.version if view.history else None),
    ):
        same = (
            {"target": "MOD", "mod_revision": str(version)} if version else {"target": "CREATE", "create_revision": "0"}
        )
        found.append({"key": encode(path), **same})
    return found


def _is_superseded(view: Any, name: str) -> bool:  # noqa: ANN401 - Patroni's own
    """Return whether another host was promoted with synchronous replication, and nobody asks for a certain host."""
    is_synchronous = bool(view.config and view.config.data.get("synchronous_mode"))
    return is_synchronous and bool(view.sync.leader) and not view.sync.matches(name, True) and not view.failover


def main() -> None:
    """Run Patroni with the arguments of this process.

    Raises:
        SystemExit: This Patroni would let a former primary lead again: better none than that one.
    """
    # Patroni's modules import each other, and only in this order.
    try:
        shorten_stops(importlib.import_module("patroni.postgresql"), importlib.import_module("patroni.ha"))
    except (ImportError, AttributeError) as error:
        print(f"airfleet: this is another Patroni, so a switch-over takes longer: {error}", file=sys.stderr)
    try:
        guard_leader(importlib.import_module("patroni.dcs.etcd3"))
    except (ImportError, AttributeError) as error:
        raise SystemExit(f"airfleet: this is another Patroni, whose primary may lose confirmed data: {error}") from None
    importlib.import_module("patroni.__main__").main()


if __name__ == "__main__":
    main()
