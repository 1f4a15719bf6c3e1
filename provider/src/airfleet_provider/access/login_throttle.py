"""A limit on failed logins at Airflow's token endpoint, which has no limit of its own.

The limit counts the failures of one address within one minute. A request in progress counts as a failure, so that a
burst of parallel requests cannot exceed the limit. Each process of an api-server counts its own requests. A load
balancer in front of several processes counts for all of them.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

PATHS = ("/auth/token", "/auth/token/cli")
FAILURES, WITHIN_S = 10, 60.0
# With failures from more addresses than this, the oldest address is forgotten.
MOST_ADDRESSES = 10_000
UNAUTHORIZED = 401
REFUSAL = b'{"detail": "Too many failed logins from this address; try again in a minute"}'

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class LoginThrottle:
    """Answers 429 to logins from an address that failed too often; passes all other requests to the application."""

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        *,
        failures: int = FAILURES,
        within_s: float = WITHIN_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._failures = failures
        self._within_s = within_s
        self._clock = clock
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()
        self._under_way: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"].rstrip("/") not in PATHS:
            await self._app(scope, receive, send)
            return
        address = (scope.get("client") or ("",))[0]
        if self._count(address) + self._under_way[address] >= self._failures:
            await self._refuse(send)
            return

        async def watch(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start" and message["status"] == UNAUTHORIZED:
                self._note(address)
            await send(message)

        self._under_way[address] += 1
        try:
            await self._app(scope, receive, watch)
        finally:
            self._under_way[address] -= 1
            if not self._under_way[address]:
                del self._under_way[address]

    def _count(self, address: str) -> int:
        times = self._seen.get(address)
        while times and self._clock() - times[0] > self._within_s:
            times.popleft()
        if not times:
            self._seen.pop(address, None)
            return 0
        return len(times)

    def _note(self, address: str) -> None:
        self._seen.setdefault(address, deque(maxlen=self._failures)).append(self._clock())
        self._seen.move_to_end(address)
        if len(self._seen) > MOST_ADDRESSES:
            self._seen.popitem(last=False)

    async def _refuse(self, send: Send) -> None:
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(REFUSAL)).encode()),
            (b"retry-after", str(int(self._within_s)).encode()),
        ]
        await send({"type": "http.response.start", "status": 429, "headers": headers})
        await send({"type": "http.response.body", "body": REFUSAL})
