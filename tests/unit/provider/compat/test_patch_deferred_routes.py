"""Routes of Airflow's are analysed at their first use, and answer as if they had been analysed at once."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.exceptions import FastAPIError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.testclient import TestClient

from airfleet_provider.compat.patches import deferred_routes
from airfleet_provider.compat.patches.patch import undo
from forked import run_forked


class Crate(BaseModel):
    """What the routes of these tests take and return."""

    name: str
    bottles: int = 6


def count(most: int = 3) -> int:
    return most


def find_crate(name: str, most: Annotated[int, Depends(count)]) -> Crate:
    """Find a crate."""
    return Crate(name=name, bottles=most)


async def send_crate(crate: Crate, again: bool = False) -> list[Crate]:
    return [crate] * (2 if again else 1)


def make_app(module: str, *endpoints: Callable[..., Any]) -> FastAPI:
    """Return an application whose router includes a router that includes one with two routes, as Airflow's does."""
    for one in (find_crate, send_crate, *endpoints):
        one.__module__ = module
    inner, middle, app = (
        APIRouter(prefix="/crates", tags=["crates"]),
        APIRouter(dependencies=[Depends(count)]),
        FastAPI(),
    )
    inner.add_api_route("/{name}", find_crate, operation_id="find", responses={404: {"model": Crate}})
    inner.add_api_route("", send_crate, methods=["POST"], status_code=201)
    for one in endpoints:
        inner.add_api_route("/more", one, methods=["PUT"])
    middle.include_router(inner)
    app.include_router(middle, prefix="/v2")
    return app


def list_routes(app: FastAPI) -> list[APIRoute]:
    return [route for route in app.routes if isinstance(route, APIRoute)]


def ask(app: FastAPI) -> list[object]:
    client = TestClient(app)
    answers = [
        client.get("/v2/crates/red", params={"most": 4}),
        client.get("/v2/crates/red", params={"most": "many"}),
        client.post("/v2/crates", params={"again": "yes"}, json={"name": "blue"}),
        client.post("/v2/crates", json={}),
        client.put("/v2/crates", json={}),
    ]
    return [[answer.status_code, answer.json()] for answer in answers]


def test_they_answer_and_are_described_as_without_the_patch() -> None:
    def work() -> list[object]:
        plain = make_app("airflow.api_fastapi.core_api.routes")
        deferred_routes.defer_routes()
        deferred = make_app("airflow.api_fastapi.core_api.routes")
        kinds = {type(route).__name__ for route in list_routes(deferred)}
        same = ask(deferred) == ask(plain)
        return [sorted(kinds), same, deferred.openapi() == plain.openapi(), ask(plain)[0]]

    kinds, same, described, first = run_forked(work)
    assert kinds == ["DeferredRoute"]
    assert same
    assert described
    assert first == [200, {"name": "red", "bottles": 4}]


def test_a_route_is_an_ordinary_one_after_its_first_use() -> None:
    def work() -> list[object]:
        deferred_routes.defer_routes()
        app = make_app("airflow.api_fastapi.core_api.routes")
        TestClient(app).get("/v2/crates/red")
        first, second = list_routes(app)
        undo(deferred_routes.PATCH)
        plain = list_routes(make_app("airflow.api_fastapi.core_api.routes"))[0]
        return [type(first) is APIRoute, type(second) is APIRoute, sorted(vars(first)) == sorted(vars(plain))]

    assert run_forked(work) == [True, False, True]


def test_threads_that_need_a_route_at_once_find_the_same() -> None:
    def work() -> bool:
        deferred_routes.defer_routes()
        for _ in range(20):
            route = list_routes(make_app("airflow.api_fastapi.core_api.routes"))[0]
            with ThreadPoolExecutor(8) as pool:
                found = list(pool.map(lambda name, one=route: getattr(one, name) is not None, ("dependant", "app") * 8))
            if not all(found) or not hasattr(route, "is_json_stream"):
                return False
        return True

    assert run_forked(work)


def test_a_route_has_no_more_attributes_than_other_routes() -> None:
    def work() -> bool:
        deferred_routes.defer_routes()
        [first, _] = list_routes(make_app("airflow.api_fastapi.core_api.routes"))
        return hasattr(first, "colour") or hasattr(first, "__deepcopy__")

    assert not run_forked(work)


@pytest.mark.parametrize(("module", "fails_at_once"), [("my_plugin.api", True), ("airflow.api_fastapi.x", False)])
def test_the_routes_of_a_plugin_show_their_mistakes_at_the_start(module: str, fails_at_once: bool) -> None:
    def bad(_: socket.socket) -> None:
        """No request has a socket."""

    def work() -> bool:
        deferred_routes.defer_routes()
        try:
            make_app(module, bad)
        except FastAPIError:
            return True
        return False

    assert run_forked(work) == fails_at_once
