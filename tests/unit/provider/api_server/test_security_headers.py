"""Every answer of an api-server tells browsers not to misuse it."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from airfleet_provider.api_server.plugin import AirfleetPlugin, guard_browsers
from airfleet_provider.api_server.security_headers import SecurityHeaders


def answer(_: Request) -> Response:
    return Response("x")


def refuse_frames(_: Request) -> Response:
    return Response("x", headers={"X-Frame-Options": "DENY", "Content-Security-Policy": "default-src 'none'"})


def test_an_answer_has_the_headers_and_so_has_a_refusal() -> None:
    client = TestClient(SecurityHeaders(Starlette(routes=[Route("/", answer)])))
    for path in ("/", "/not-there"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "SAMEORIGIN"
        assert "frame-ancestors 'self'" in headers["Content-Security-Policy"]


def test_a_page_that_is_stricter_stays_so() -> None:
    client = TestClient(SecurityHeaders(Starlette(routes=[Route("/", refuse_frames)])))
    headers = client.get("/").headers
    assert headers.get_list("X-Frame-Options") == ["DENY"]
    assert headers.get_list("Content-Security-Policy") == ["default-src 'none'"]


def test_they_are_the_outermost_of_what_airfleet_adds() -> None:
    """Else an answer of the throttle or of an outage would have none."""
    assert AirfleetPlugin.fastapi_root_middlewares[-1]["middleware"] is guard_browsers
