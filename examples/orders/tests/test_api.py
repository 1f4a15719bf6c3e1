"""The client gets a whole day or an error, from a real server that fails."""

from __future__ import annotations

from datetime import date
from typing import Any

import httpx
import pytest

from include.api import IncompleteDay, fetch_day, get
from shop_api import PAGE, Shop, make_orders

DAY = "2025-01-06"


def test_a_day_comes_whole_page_by_page_and_always_the_same(shop: Shop, client: httpx.Client) -> None:
    orders = fetch_day(client, DAY)
    assert len(orders) == len(make_orders(date.fromisoformat(DAY))) > 3 * PAGE
    assert shop.requests == 4
    assert fetch_day(client, DAY) == orders


def test_a_hiccup_costs_a_second_try_and_an_outage_is_an_error_at_once(shop: Shop, client: httpx.Client) -> None:
    pauses: list[float] = []
    shop.fault = "flaky"
    assert [get(client, f"/days/{DAY}", pauses.append)["closed"] for _ in range(3)] == [True] * 3
    assert len(pauses) == 1
    shop.fault, shop.requests = "down", 0
    with pytest.raises(httpx.HTTPStatusError) as raised:
        get(client, f"/days/{DAY}", pauses.append)
    # The server said when to come back, so it is not asked again now.
    assert (raised.value.response.headers["Retry-After"], shop.requests) == ("5", 1)


def test_a_server_that_is_gone_is_an_error_of_the_transport(client: httpx.Client) -> None:
    pauses: list[float] = []
    with httpx.Client(base_url="http://127.0.0.1:1", trust_env=False) as nobody, pytest.raises(httpx.ConnectError):
        get(nobody, "/", pauses.append)
    assert len(pauses) == 2


def test_pages_that_do_not_add_up_are_refused() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        body: dict[str, Any] = {"orders": [{}], "total": 2, "next": None}
        return httpx.Response(200, json=body, request=request)

    transport = httpx.MockTransport(answer)
    with (
        httpx.Client(transport=transport, base_url="http://shop") as client,
        pytest.raises(IncompleteDay, match="1 or"),
    ):
        fetch_day(client, DAY)
