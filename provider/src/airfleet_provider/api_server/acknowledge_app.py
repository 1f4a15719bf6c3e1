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

app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)


@app.get("/")
def show(request: Request) -> HTMLResponse:
    """Show the alert of the link, with a button."""
    if refusal := acknowledge_page.refuse(request.url.query, _list_keys(), now=time.time()):
        return _answer(refusal)
    with closing(metadata_db.connect("airfleet acknowledge")) as connection:
        return _answer(acknowledge_page.show(connection, request.url.query, _list_keys(), now=time.time()))


@app.post("/")
async def acknowledge(request: Request) -> HTMLResponse:
    """Acknowledge the alert of the link."""
    if refusal := acknowledge_page.refuse(request.url.query, _list_keys(), now=time.time()):
        return _answer(refusal)
    body = await request.body()

    def work() -> Page:
        with closing(metadata_db.connect("airfleet acknowledge")) as connection:
            return acknowledge_page.acknowledge(connection, request.url.query, body, _list_keys(), now=time.time())

    # Else the event loop would wait for the database, and with it every task.
    return _answer(await run_in_threadpool(work))


def _list_keys() -> tuple[str, ...]:
    """Return the keys that may have signed a link; during a rotation there are several."""
    known = ""
    with suppress(OSError):
        known = Path(conf.get("api_auth", "trusted_jwks_url", fallback="")).read_text("utf-8")
    return acknowledge_page.derive_keys(conf.get("api_auth", "jwt_secret"), known)


def _answer(page: Page) -> HTMLResponse:
    return HTMLResponse(page.html, page.status, headers=acknowledge_page.HEADERS)
