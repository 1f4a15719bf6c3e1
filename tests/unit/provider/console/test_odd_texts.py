"""The API of the Fleet pages refuses control characters wherever a person's text enters."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.routing import APIRoute

from airfleet_provider.console.app import make_app
from airfleet_provider.console.desk import Desk
from console_bench import Bench
from invented_fleet import ADMIN

# The last one overrides the direction of what follows, so that a reader sees other words.
ODD_TEXTS = ("\0", "a\0b", "\ud800", "\x1b[2J", "sales\u202etxt.exe")
WRITTEN = (
    ("/alerts/17/acknowledge", {"note": "*"}),
    ("/alerts/17/silence", {"seconds": 3600, "comment": "*"}),
    ("/releases/rollback", {"live": "r2", "release": "*", "reason": "why"}),
    ("/releases/rollback", {"live": "*", "reason": "why"}),
    ("/releases/rollback", {"live": "r2", "reason": "*"}),
    ("/pools/cpu/scale", {"slots": 2, "reason": "*"}),
    ("/workers/drain", {"host": "cpu1", "reason": "*"}),
    ("/workers/resume", {"pool": "*", "reason": "why"}),
    ("/workers/resume", {"host": "cpu1", "reason": "why", "more": [{"*": 1}]}),
)


@pytest.mark.parametrize("text", ODD_TEXTS, ids=ascii)
@pytest.mark.parametrize(("path", "body"), WRITTEN)
def test_no_control_character_reaches_the_database(bench: Bench, path: str, body: dict[str, Any], text: str) -> None:
    written = json.dumps(body).replace('"*"', json.dumps(text))
    answer = bench.as_user(ADMIN).post(path, content=written, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()) == (422, {"detail": "a text has control characters"})
    assert not (bench.acknowledged or bench.silenced or bench.requested or bench.scaled or bench.turned)
    assert not bench.audited


def test_every_route_refuses_control_characters_in_its_address(bench: Bench) -> None:
    client = bench.as_user(ADMIN)
    routes = [one for one in make_app(Desk()).routes if isinstance(one, APIRoute)]
    assert len(routes) > 15
    for route in routes:
        (method,) = route.methods
        path = route.path.replace("{alert}", "17").replace("{number}", "3")
        odd = [route.path.replace("{pool}", "a%00b")] if "{pool}" in path else []
        for address in (*odd, f"{path}?dag=a%00b", f"{path}?%1b=1"):
            answer = client.request(method, address, headers={"content-type": "application/json"})
            assert answer.status_code == 422, address


def test_a_reason_may_have_lines_and_letters_of_any_language(bench: Bench) -> None:
    body = {"seconds": 3600, "comment": "Wartung:\r\n\tüber Nacht \U0001f600 \u0639\u0631\u0628\u064a\u200f!"}
    assert bench.as_user(ADMIN).post("/alerts/17/silence", json=body).status_code == 200


def test_a_body_that_no_parser_can_follow_is_no_fault_of_the_server(bench: Bench) -> None:
    deep = "[" * 200_000
    assert bench.as_user(ADMIN).request("GET", "/alerts", content=deep).status_code == 200
    answer = bench.as_user(ADMIN).post("/workers/drain", content=deep, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
