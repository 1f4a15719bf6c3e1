"""The routes that look back: where the time of a run went."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response

from airfleet_provider.compat.calls import logins
from airfleet_provider.console import inquiry_views
from airfleet_provider.console.desk import LONGEST_ID, Own, User, answer, require, require_json
from airfleet_provider.contract.run_trace import reading, spans

router = APIRouter(dependencies=[Depends(require_json)])
# Airflow's own ids have 250 characters at most.
Id = Annotated[str, Query(max_length=LONGEST_ID + 100)]


@router.get("/trace")
def show_trace(request: Request, desk: Own, user: User, dag: Id, run: Id) -> Response:
    """Return the tries of a run with their parts, and what decided when it ended."""
    require(logins.may_read_dag(user, dag), f"Task Instances (read) of the Dag {dag}")
    with desk.snapshot() as query:
        found = reading.read(query, dag, run)
    if found is None:
        raise HTTPException(404, "there is no such run")
    return answer(request, inquiry_views.show_trace(spans.build(found)))
