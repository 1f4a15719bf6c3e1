"""The page that acknowledges an alert, as an application in the api-server."""

from __future__ import annotations

import time
from contextlib import closing, suppress
from pathlib import Path

from airflow.configuration import conf
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse

from airfleet_provider.api_server import acknowledge_page
from airfleet_provider.api_server.acknowledge_page import Page
from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.contract.alert_links import Capability

app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)


@app.get("/")
def show(request: Request) -> HTMLResponse:
    """Show the alert of the link, with a button."""
    found = _verify(request)
    if isinstance(found, Page):
        return _answer(found)
    with closing(metadata_db.connect("airfleet acknowledge")) as connection:
        return _answer(acknowledge_page.show(connection, found))


@app.post("/")
async def acknowledge(request: Request) -> HTMLResponse:
    """Acknowledge the alert of the link."""
    found = _verify(request)
    if isinstance(found, Page):
        return _answer(found)
    body = await request.body()

    def work() -> Page:
        with closing(metadata_db.connect("airfleet acknowledge")) as connection:
            return acknowledge_page.acknowledge(connection, found, body)

    # Else the event loop would wait for the database, and with it every task.
    return _answer(await run_in_threadpool(work))


def _verify(request: Request) -> Capability | Page:
    return acknowledge_page.verify(request.url.query, _list_keys(), now=time.time())


def _list_keys() -> tuple[str, ...]:
    """Return the keys that may have signed a link; during a rotation there are several."""
    known = ""
    with suppress(OSError):
        known = Path(conf.get("airfleet", "link_keys", fallback="")).read_text("utf-8")
    return acknowledge_page.list_keys(conf.get("api_auth", "jwt_secret"), known)


def _answer(page: Page) -> HTMLResponse:
    return HTMLResponse(page.html, page.status, headers=acknowledge_page.HEADERS)
