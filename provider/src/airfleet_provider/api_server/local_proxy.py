"""Believes forwarding headers of connections from this host only if they are HAProxy's (ADR 48).

HAProxy ends TLS in front of an api-server and connects to it over the loopback, as every user of the host may. So
uvicorn believes no address of this host. This application looks up whose socket is at the other end of the connection.
"""

from __future__ import annotations

import logging
import pwd
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from airfleet_provider.api_server.security_headers import App, Receive, Send
from airfleet_provider.contract import environment

log = logging.getLogger(__name__)

# The TCP connections of this network namespace, as the kernel lists them: proc_net_tcp(5).
TABLES = (Path("/proc/self/net/tcp"),)
ESTABLISHED = "01"
FORWARDING = (b"forwarded", b"x-forwarded-", b"x_forwarded")


class End(NamedTuple):
    """One end of a TCP connection over IPv4."""

    address: str
    port: int


def find_owner(peer: End, own: End, tables: Iterable[Path] = TABLES) -> int | None:
    """Return the id of the user whose socket is at the other end of a connection of this host.

    None means that the socket is not of this host, or that its process has closed it.

    Raises:
        OSError: The kernel's list cannot be read.
    """
    wanted = f" {_write(peer)} {_write(own)} {ESTABLISHED} "
    for table in tables:
        text = table.read_text("ascii")
        if (place := text.find(wanted)) >= 0:
            # The fields after the state: two queues, two timers, and the user's id.
            return int(text[place + len(wanted) : place + len(wanted) + 200].split(None, 4)[3])
    return None


def _write(end: End) -> str:
    """Return an end as the kernel writes it: the address as a number of this machine's byte order."""
    number = int.from_bytes(socket.inet_aton(end.address), sys.byteorder)
    return f"{number:08X}:{end.port:04X}"


class LocalProxy:
    """An ASGI application in front of another: believes HAProxy of this host, and removes the headers of other users.

    Connections from other hosts pass as they are: uvicorn has decided about them.
    """

    def __init__(
        self,
        app: App,
        user: int,
        addresses: Iterable[str],
        find_owner: Callable[[End, End], int | None] = find_owner,
    ) -> None:
        """`user` is the id of HAProxy's user, and `addresses` are those of this host."""
        self._app = app
        self._user = user
        self._addresses = frozenset(addresses)
        self._find_owner = find_owner
        self._believing: Any = ProxyHeadersMiddleware(cast(Any, app), trusted_hosts=list(self._addresses))

    @classmethod
    def wrap(cls, app: App, environ: Mapping[str, str]) -> App | Self:
        """Return the application behind what the environment of this process asks for."""
        name, _, addresses = environ.get(environment.LOCAL_PROXY, "").partition(" ")
        if not name:
            return app
        try:
            user = pwd.getpwnam(name).pw_uid
        except KeyError:
            log.error("there is no user %s, so no proxy of this host is believed", name)
            user = -1
        return cls(app, user, addresses.split(","))

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        client, server = scope.get("client") or ("", 0), scope.get("server") or ("", 0)
        # A remote balancer may have said this address, too. Then uvicorn has set the port to 0.
        is_local = client[0] in self._addresses and client[1] and server[1]
        if not is_local or not any(map(_is_forwarding, scope["headers"])):
            await self._app(scope, receive, send)
        elif self._is_proxy(End(client[0], client[1]), End(server[0], server[1])):
            await self._believing(scope, receive, send)
        else:
            kept = [one for one in scope["headers"] if not _is_forwarding(one)]
            await self._app({**scope, "headers": kept}, receive, send)

    def _is_proxy(self, peer: End, own: End) -> bool:
        try:
            return self._find_owner(peer, own) == self._user
        except OSError as error:
            log.error("the proxy of this host is not believed, as connections cannot be listed: %s", error)
            return False


def _is_forwarding(header: tuple[bytes, bytes]) -> bool:
    return header[0].lower().startswith(FORWARDING)
