"""Takes the signed reports of workers, and answers each with its slots, and whether it is drained."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

from airflow.configuration import conf
from fastapi import FastAPI, HTTPException, Query, Request

from airfleet_provider.contract.slot_rules import PATH
from airfleet_provider.network import signed_requests
from airfleet_provider.slots import reports

Count = Annotated[int, Query(ge=0, le=100_000)]
Flag = Annotated[int, Query(ge=0, le=1)]

app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)


@app.get("/{pool}/{host}")
def report(
    pool: str,
    host: str,
    request: Request,
    held: Count,
    in_force: Count,
    takes: Flag,
    marked: Flag = 0,
) -> dict[str, Any]:
    """Note what a worker reports, and return its slots and the seconds until its next report.

    Raises:
        HTTPException: 403 if the signature is not valid; 404 if no rule is about this worker.
    """
    moment = request.headers.get(signed_requests.TIME_HEADER, "")
    signature = request.headers.get(signed_requests.SIGNATURE_HEADER, "")
    what = f"worker {PATH}/{pool}/{host}?{request.url.query}"
    keys = (conf.get("api", "secret_key"), *json.loads(conf.get("airfleet", "other_secret_keys", fallback="[]")))
    if not any(signed_requests.is_signed(key, what, moment, signature, time.time()) for key in keys):
        raise HTTPException(403)
    values = {
        "pool": pool,
        "host": host,
        "held": held,
        "in_force": in_force,
        "takes": bool(takes),
        "marked": bool(marked),
    }
    answer = reports.note(values)
    if answer is None:
        raise HTTPException(404)
    return answer
