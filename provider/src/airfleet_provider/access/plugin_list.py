"""Tells the auth manager that a request asks for the list of plugins, which more users may read than FAB allows.

Airflow asks for the same right for the errors of plugins, which show code and paths, and does not say which of the two
is asked for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import Any

PATH = "/api/v2/plugins"
IS_ASKED_FOR = ContextVar("airfleet_asks_for_plugins", default=False)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class PluginList:
    """An ASGI application in front of another: sets IS_ASKED_FOR while a request for the list is answered."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The path may begin with the one below which the whole UI lies.
        token = IS_ASKED_FOR.set(scope["type"] == "http" and scope["path"].endswith(PATH))
        try:
            await self._app(scope, receive, send)
        finally:
            IS_ASKED_FOR.reset(token)
