"""The api-server's side of a download: answers a signed request with the archive of a release."""

from __future__ import annotations

import json
import time

from airflow.configuration import conf
from fastapi import FastAPI, HTTPException, Request, Response

from airfleet_provider.bundles import archive_client, release_files
from airfleet_provider.network import signed_requests

app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)


@app.get("/{release}")
def give(release: str, request: Request) -> Response:
    """Return the archive of a release if the request is signed with a key of this platform.

    Raises:
        HTTPException: 403 if the signature is not valid, whether or not the release exists; 404 if it does not exist.
    """
    moment = request.headers.get(signed_requests.TIME_HEADER, "")
    signature = request.headers.get(signed_requests.SIGNATURE_HEADER, "")
    keys = (conf.get("api", "secret_key"), *json.loads(conf.get("airfleet", "other_secret_keys", fallback="[]")))
    if not any(archive_client.is_signed(key, release, moment, signature, time.time()) for key in keys):
        raise HTTPException(403)
    try:
        return Response(release_files.read_archive(release), media_type="application/octet-stream")
    except LookupError:
        raise HTTPException(404) from None
