"""Limits after which connections to databases and brokers give up a host that has lost its power.

libpq takes these limits in the connection's URL. asyncpg has no setting for them: a query would wait for ever on a
connection to a lost host, and so would all code that waits for a connection of the pool. When asyncpg tries hosts one
after another, a silent host also uses up the time of the next. py-amqp by default probes a silent broker only after a
minute, and gives up a broker that leaves data unacknowledged for a second.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from typing import Any

from airfleet_provider.contract import dead_peer

OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, dead_peer.IDLE_S),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, dead_peer.INTERVAL_S),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, dead_peer.COUNT),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, dead_peer.USER_TIMEOUT_MS),
)


def list_tcp_options() -> dict[int, int]:
    """Return the same limits as TCP options, for a library that sets them itself, such as py-amqp."""
    return {option: value for level, option, value in OPTIONS if level == socket.IPPROTO_TCP}


async def connect(*, host: str | Sequence[str], port: int | Sequence[int], **options: Any) -> Any:  # noqa: ANN401
    """Connect with asyncpg to all hosts in parallel; return the first connection.

    With `sslrootcert`, the path of authorities, the connection is encrypted and the server has to prove its name.
    Without it, `sslmode` means what it means to libpq.

    Raises:
        Exception: the last error, if no host accepts a connection within 3 s; an OSError if no host is named.
    """
    mode = options.pop("sslmode", None)
    if authorities := options.pop("sslrootcert", None):
        options["ssl"] = ssl.create_default_context(cafile=authorities)
    elif mode:
        options["ssl"] = mode
    hosts = [host] if isinstance(host, str) else host
    ports = [port] if isinstance(port, int) else port
    tries = [asyncio.create_task(_connect_one(*place, options)) for place in zip(hosts, ports, strict=True)]
    refused: Exception = OSError("no database host is named")
    left = set(tries)
    try:
        while left:
            ended, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            # If several attempts end at once, take the first in the order of the hosts, and close the others.
            for one in sorted(ended, key=tries.index):
                if error := one.exception():
                    refused = error if isinstance(error, Exception) else refused
                else:
                    tries.remove(one)
                    return one.result()
        raise refused
    finally:
        for one in tries:
            one.cancel()
            one.add_done_callback(_drop)


def _drop(ended: asyncio.Task[Any]) -> None:
    """Close a connection that was not returned, even if it was made after its attempt was cancelled."""
    if not ended.cancelled() and ended.exception() is None:
        ended.result().terminate()


async def _connect_one(host: str, port: int, options: dict[str, Any]) -> Any:  # noqa: ANN401 - asyncpg has no types
    import asyncpg  # noqa: PLC0415 - processes without an asynchronous engine load this module too

    class Watched(asyncpg.Connection):  # type: ignore[misc]
        def __init__(self, protocol: Any, transport: Any, *rest: Any) -> None:  # noqa: ANN401
            for option in OPTIONS:
                transport.get_extra_info("socket").setsockopt(*option)
            super().__init__(protocol, transport, *rest)

    return await asyncpg.connect(host=host, port=port, timeout=dead_peer.CONNECT_S, connection_class=Watched, **options)


# What `[database] sql_alchemy_connect_args_async` names.
ASYNC_CONNECT = {"async_creator_fn": connect}
