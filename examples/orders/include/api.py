"""The client of the shop's API: every call ends, small hiccups cost nothing, and an outage is an error at once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

# To connect, and between two bytes of an answer. Without it, a task waits for a silent server until its own time-out.
TIMEOUT = httpx.Timeout(10.0, connect=3.0)
TRIES = 3
PAUSE_S = 0.2


class IncompleteDay(Exception):
    """The pages of a day do not add up to what the shop says."""


def get(
    client: httpx.Client, path: str, pause: Callable[[float], None] = time.sleep, **query: str | int
) -> dict[str, Any]:
    """Return the JSON at a path. A failed request is repeated twice within a second, and then it is an outage.

    Longer waits are not the task's job: the breaker in fleet.yaml lets the task wait without a slot.

    Raises:
        httpx.HTTPError: The service is away, or refuses the request.
    """
    for last in (False,) * (TRIES - 1) + (True,):
        try:
            reply = client.get(path, params=query, timeout=TIMEOUT)
            # The server names a pause (Retry-After), or the request itself is wrong: to repeat it now helps nobody.
            if last or reply.is_success or reply.is_client_error or "Retry-After" in reply.headers:
                reply.raise_for_status()
                answer: dict[str, Any] = reply.json()
                return answer
        except httpx.TransportError:
            if last:
                raise
        pause(PAUSE_S)
    raise AssertionError("the last try returns or raises")


def fetch_day(client: httpx.Client, day: str) -> list[dict[str, Any]]:
    """Return all orders of a day, page by page.

    Raises:
        IncompleteDay: The shop announced another number.
    """
    orders: list[dict[str, Any]] = []
    page: int | None = 1
    total = 0
    while page:
        answer = get(client, "/orders", day=day, page=page)
        orders += answer["orders"]
        page, total = answer["next"], answer["total"]
    if len(orders) != total:
        raise IncompleteDay(f"{day}: {len(orders)} orders came, the shop has {total}")
    return orders


def write_whole(path: Path, data: bytes) -> None:
    """Make `path` hold exactly `data`, never a part of it, whenever the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.write_bytes(data)
    draft.replace(path)
