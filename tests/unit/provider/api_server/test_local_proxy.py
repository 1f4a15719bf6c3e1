"""Who is believed about the origin of a request: HAProxy of this host, and no other user of the host."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import pytest

from airfleet_provider.api_server.local_proxy import End, LocalProxy, find_owner
from airfleet_provider.contract import environment

HAPROXY, OTHER = 101, 1000
HEADERS = [(b"host", b"a"), (b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-proto", b"https"), (b"x-real", b"b")]


def ask(
    owner: int | OSError | None,
    *,
    peer: tuple[str, int] = ("127.0.0.1", 40_000),
    headers: list[tuple[bytes, bytes]] = HEADERS,
) -> dict[str, Any]:
    """Return the scope that the application gets."""
    seen: list[dict[str, Any]] = []

    async def app(scope: Any, _: Any, __: Any) -> None:  # noqa: ANN401 - of ASGI
        seen.append(scope)

    def find(found: End, own: End) -> int | None:
        assert (found, own) == (End(*peer), End("127.0.0.1", 8080))
        if isinstance(owner, OSError):
            raise owner
        return owner

    scope = {"type": "http", "scheme": "http", "client": peer, "server": ("127.0.0.1", 8080), "headers": headers}
    asyncio.run(LocalProxy(app, HAPROXY, ("127.0.0.1", "10.0.0.22"), find)(scope, None, None))  # type: ignore[arg-type]
    return seen[0]


def test_haproxy_of_this_host_says_where_a_request_came_from() -> None:
    seen = ask(HAPROXY)
    assert (seen["client"][0], seen["scheme"]) == ("203.0.113.9", "https")


@pytest.mark.parametrize("owner", [OTHER, 0, None, PermissionError("no list")])
def test_another_user_of_this_host_is_not_believed(owner: int | OSError | None) -> None:
    seen = ask(owner)
    assert (seen["client"][0], seen["scheme"]) == ("127.0.0.1", "http")
    assert [name for name, _ in seen["headers"]] == [b"host", b"x-real"]


def test_what_uvicorn_decided_about_other_hosts_stays() -> None:
    assert ask(AssertionError, peer=("10.0.0.31", 5))["headers"] == HEADERS  # type: ignore[arg-type]
    # A balancer of another host has said that its client is 127.0.0.1.
    assert ask(AssertionError, peer=("127.0.0.1", 0))["client"] == ("127.0.0.1", 0)  # type: ignore[arg-type]


def test_the_owner_of_a_connection_is_who_opened_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        own = End(*server.getsockname())
        with socket.create_connection(own) as client:
            peer = End(*client.getsockname())
            assert find_owner(peer, own) == os.getuid()
            assert find_owner(End("127.0.0.1", own.port), own) is None
            assert find_owner(peer, End(own.address, 1)) is None
        # Closed sockets belong to the kernel, whose number is that of root: they must not count.
        assert find_owner(peer, own) is None


def test_without_a_proxy_nothing_is_in_front() -> None:
    assert LocalProxy.wrap(ask, {}) is ask  # type: ignore[arg-type]
    named = LocalProxy.wrap(ask, {environment.LOCAL_PROXY: "no-such-user-here 127.0.0.1"})  # type: ignore[arg-type]
    assert isinstance(named, LocalProxy)  # it believes nobody
