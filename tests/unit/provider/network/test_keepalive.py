"""The API's connections to a database: which host they take, and that a dead one is noticed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import asyncpg
import pytest

from airfleet_provider.contract import dead_peer
from airfleet_provider.network import keepalive


@contextlib.asynccontextmanager
async def silent_host() -> AsyncIterator[int]:
    """The port of one who takes a connection and never says a word, as a host that froze."""
    server = await asyncio.start_server(lambda _reader, _writer: asyncio.sleep(3600), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def give(host: str, port: int, **_: object) -> str:
    """As asyncpg connects: to one host at once, to the other never."""
    if host == "silent":
        await asyncio.sleep(3600)
    if host == "replica":
        raise asyncpg.TargetServerAttributeNotMatched("it takes no writes")
    return f"{host}:{port}"


@pytest.mark.parametrize("hosts", [["silent", "primary"], ["primary", "silent"], ["replica", "primary"]])
def test_the_one_that_takes_writes_is_taken_whoever_is_silent(
    hosts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncpg, "connect", give)
    assert asyncio.run(keepalive.connect(host=hosts, port=[1, 2])) == f"primary:{hosts.index('primary') + 1}"


def test_who_finds_nobody_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncpg, "connect", give)
    with pytest.raises(asyncpg.TargetServerAttributeNotMatched, match="no writes"):
        asyncio.run(keepalive.connect(host=["replica", "replica"], port=[1, 2]))


class Won:
    """A connection that can be ended."""

    def __init__(self) -> None:
        self.ended = False

    def terminate(self) -> None:
        self.ended = True


@pytest.mark.parametrize("is_late", [False, True])
def test_of_two_connections_one_is_kept_and_the_other_is_ended(is_late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"a": Won(), "b": Won()}

    async def give_both(host: str, **_: object) -> Won:
        if host == "b" and is_late:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)
        return made[host]

    async def take() -> object:
        taken = await keepalive.connect(host=["a", "b"], port=[1, 2])
        for _ in range(5):
            await asyncio.sleep(0)
        return taken

    monkeypatch.setattr(asyncpg, "connect", give_both)
    assert asyncio.run(take()) is made["a"]
    assert (made["a"].ended, made["b"].ended) == (False, True)


def test_without_a_host_it_is_an_error_like_any_other() -> None:
    with pytest.raises(OSError, match="no database host is named"):
        asyncio.run(keepalive.connect(host=[], port=[]))


def test_a_host_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_peer, "CONNECT_S", 0.05)

    async def try_it() -> None:
        async with silent_host() as port:
            await keepalive.connect(host="127.0.0.1", port=port, user="u", database="d", ssl=False)

    with pytest.raises(TimeoutError):
        asyncio.run(try_it())


def test_every_option_is_one_that_a_socket_takes() -> None:
    with socket.socket() as sock:
        for level, name, value in keepalive.OPTIONS:
            sock.setsockopt(level, name, value)
            assert sock.getsockopt(level, name) == value
