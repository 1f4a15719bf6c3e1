"""The api-server's end of the shelf: gives signed requests the archive of a release."""

from __future__ import annotations

import json
import time

from airflow.configuration import conf
from fastapi import FastAPI, HTTPException, Request, Response

from airfleet_provider import bundle, shelf

app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)


@app.get("/{release}")
def give(release: str, request: Request) -> Response:
    """The archive, to whoever knows the key; nobody else learns whether it is there."""
    moment = request.headers.get(shelf.TIME_HEADER, "")
    signature = request.headers.get(shelf.SIGNATURE_HEADER, "")
    keys = (conf.get("api", "secret_key"), *json.loads(conf.get("airfleet", "other_secret_keys", fallback="[]")))
    if not any(shelf.is_signed(key, release, moment, signature, time.time()) for key in keys):
        raise HTTPException(403)
    try:
        return Response(bundle.read_archive(release), media_type="application/octet-stream")
    except LookupError:
        raise HTTPException(404) from None
