"""The plugin leads to the shelf; tests/local/test_plugin_imports.py says what it costs those who only load it."""

from __future__ import annotations

import asyncio
from typing import Any

from airfleet_provider.api_server import plugin


def test_it_answers_as_the_shelf_does() -> None:
    sent = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/some-release",
        "query_string": b"",
        "headers": [],
        "root_path": "",
    }
    mounted, *_ = plugin.AirfleetPlugin.fastapi_apps
    app: Any = mounted["app"]
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 403
