"""The provider's own ASGI applications answer odd bytes with a refusal, never with an error of theirs."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterable
from typing import Any

import pytest

from airfleet_provider.api_server import plugin
from airfleet_provider.bundles import archive_client
from airfleet_provider.execution_api.fast_path import FastPath
from airfleet_provider.network import signed_requests

KEY = "key"
ODD = (b"", b"\xb2", b"\xc2\xb2", b"9" * 5000, b"-1", b"1e9", b" 1", b"\xe9" * 64, b"0" * 64, b"\x00", b"a" * 64)
PATHS = ("/x", "/é", "/\udc80", "/" + "a" * 9000, "/\x00", "//", "/r/../x", "/²")


def ask(app: Any, path: str, headers: Iterable[tuple[bytes, bytes]] = (), **more: Any) -> int:  # noqa: ANN401
    """Return the status of one request. Many of them are quicker with the `run` of one asyncio.Runner."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": more.get("body", b""), "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": more.get("method", "GET"),
        "path": path,
        "query_string": more.get("query", b""),
        "headers": list(headers),
        "root_path": "",
        "client": (more.get("client", "10.0.0.1"), 1),
    }
    more.get("run", asyncio.run)(app(scope, receive, send))
    return int(sent[0]["status"])


@pytest.mark.parametrize("path", PATHS)
def test_the_download_refuses_whatever_is_not_signed(path: str) -> None:
    mounted, *_ = plugin.AirfleetPlugin.fastapi_apps
    names = (signed_requests.TIME_HEADER.lower().encode(), signed_requests.SIGNATURE_HEADER.lower().encode())
    with asyncio.Runner() as runner:
        for moment, signature in itertools.product(ODD, ODD):
            status = ask(mounted["app"], path, zip(names, (moment, signature), strict=True), run=runner.run)
            assert status in (400, 403, 404), (moment, signature)


def test_a_signature_counts_for_its_release_and_for_some_minutes() -> None:
    now = int(time.time())
    signed = archive_client.sign(KEY, "r1", now)
    assert archive_client.is_signed(KEY, "r1", str(now), signed, now)
    assert not archive_client.is_signed(KEY, "r2", str(now), signed, now)
    assert not archive_client.is_signed(KEY, "r1", str(now), signed.upper(), now)
    assert not archive_client.is_signed(KEY, "r1", str(now), signed, now + signed_requests.VALID_S + 1)


def test_the_short_way_leaves_what_is_odd_to_airflow() -> None:
    async def airflow(_scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401
        await send({"type": "http.response.start", "status": 418, "headers": []})

    class Models:
        version = "1"

        async def read_claims(self, token: str) -> Any:  # noqa: ANN401
            token.encode("ascii")
            raise ValueError(token)

    def ask_nothing(*_: object) -> None:
        raise AssertionError("nothing may be asked of the database")

    app = FastPath(airflow, Models(), ask_nothing)
    call = "/execution/task-instances/00000000-0000-0000-0000-000000000000/heartbeat"
    xcom = "/execution/xcoms/d\x00/r/t/é"
    for odd in ODD:
        headers = [(b"authorization", b"Bearer " + odd), (b"airflow-api-version", b"1"), (b"content-type", odd)]
        assert ask(app, call, headers, method="PUT", body=odd) == 418
        assert ask(app, xcom, headers, method="GET", query=b"map_index=" + odd) == 418


def test_the_api_server_gets_the_audit_log_with_its_limits() -> None:
    layers: list[object] = [one["middleware"] for one in plugin.AirfleetPlugin.fastapi_root_middlewares]
    # The later is the outer: what an outage refused does not count.
    assert layers.index(plugin.record_changes) > layers.index(plugin.answer_honestly)
