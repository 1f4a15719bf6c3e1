"""The plugin costs those who only load it nothing, and leads to the shelf."""

from __future__ import annotations

import asyncio
import subprocess
import sys

from airfleet_provider import shelf_plugin


def test_a_process_that_loads_plugins_does_not_load_a_web_framework() -> None:
    code = "import sys; from airfleet_provider import shelf_plugin; print('fastapi' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said.splitlines()[-1] == "False"


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
    (mounted,) = shelf_plugin.ShelfPlugin.fastapi_apps
    asyncio.run(mounted["app"](scope, receive, send))
    assert sent[0]["status"] == 403
