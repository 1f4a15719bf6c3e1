"""The API of the Fleet pages, as an application in the api-server. Every route asks who the user is."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError

from airfleet_provider.compat.calls import db_errors, logins, metadata_db
from airfleet_provider.console import inquiry, pool_routes, views
from airfleet_provider.console.desk import (
    ACTIVITY,
    ANY_DAG,
    AUDIT,
    EVERY_DAG,
    LONGEST_ID,
    OPERATE,
    Desk,
    Given,
    Own,
    User,
    answer,
    expect,
    record,
    require,
    require_json,
    require_plain_text,
)
from airfleet_provider.console.readings import ReleaseBoard
from airfleet_provider.console.rights import Rights
from airfleet_provider.contract import alert_list, alert_schema, release_list
from airfleet_provider.contract.explanation import model, reading
from airfleet_provider.contract.explanation.explain import explain
from airfleet_provider.contract.explanation.model import Subject
from airfleet_provider.contract.release_schema import PENDING, DeploymentAction

UNASKED = "broker and workers were not asked: `airfleet explain` on the command line asks them"
router = APIRouter(dependencies=[Depends(require_json)])


class AcknowledgementBody(BaseModel):
    """What a user writes when an alert is acknowledged."""

    note: str = Field(default="", max_length=1000)


class SilenceBody(BaseModel):
    """How long the alerts with the name and labels of one notify nobody, and why."""

    seconds: float = Field(ge=60, le=30 * 86_400)
    comment: str = Field(min_length=1, max_length=1000)


class Rollback(BaseModel):
    """Which release is live again, as the user saw it: `live` is the one that the page showed as live.

    Without `release` it is the one before the live release.
    """

    live: str = Field(max_length=LONGEST_ID)
    release: str | None = Field(default=None, max_length=LONGEST_ID)
    reason: str = Field(min_length=1, max_length=1000)


@router.get("/overview")
def show_overview(request: Request, desk: Own, rights: Given) -> Response:
    """Return whether the platform is well, and what is wrong."""
    require(rights.sees_platform, ACTIVITY)
    readings = desk.readings
    found = (readings.read_alerts(), readings.read_releases(), readings.read_promises(), readings.read_breakers())
    return answer(request, views.show_overview(rights, readings.read_activity(), *found))


@router.get("/releases")
def show_releases(request: Request, desk: Own, rights: Given) -> Response:
    """Return the releases and deployments. What they say may name any Dag, so whoever sees it may read them all."""
    require(rights.reads_all, EVERY_DAG)
    board = expect(desk.readings.read_releases(), "releases")
    return answer(request, views.show_releases(rights, board))


@router.get("/slas")
def show_slas(request: Request, desk: Own, rights: Given) -> Response:
    """Return the promises about the user's Dags."""
    require(bool(rights.dags) or rights.sees_platform, ANY_DAG)
    board = expect(desk.readings.read_promises(), "promises")
    return answer(request, views.show_promises(rights, board, desk.readings.read_report() or ()))


@router.post("/alerts/{alert}/silence")
def silence(alert: int, body: SilenceBody, desk: Own, rights: Given, user: User) -> Response:
    """Silence the alerts with the name and labels of one. A refused try is audited too."""
    seen = _sees(desk, rights, alert)
    status, number = 403 if not rights.operates else 200 if seen else 404, None
    with desk.session() as session:
        query = metadata_db.query_in(session)
        matcher = alert_list.match_alert(query, alert) if status == 200 else None
        if matcher is None:
            status = 404 if status == 200 else status
        else:
            number = alert_list.silence(query, matcher, body.seconds, actor=rights.name, comment=body.comment)
        extra = {"alert": alert, "seconds": body.seconds, "comment": body.comment, "silence": number, "status": status}
        record(session, user, "airfleet_silence_alert", extra)
    require(rights.operates, OPERATE)
    if number is None:
        raise HTTPException(404, f"there is no alert {alert}")
    desk.readings.forget("alerts")
    return Response(json.dumps({"silence": number}), media_type="application/json")


@router.post("/silences/{number}/end")
def end_silence(number: int, desk: Own, rights: Given, user: User) -> Response:
    """End a silence now. A refused try is audited too."""
    is_allowed = rights.operates and rights.sees_platform
    with desk.session() as session:
        is_ended = is_allowed and alert_list.end_silence(metadata_db.query_in(session), number)
        status = 403 if not is_allowed else 200 if is_ended else 404
        record(session, user, "airfleet_end_silence", {"silence": number, "status": status})
    require(is_allowed, OPERATE)
    if not is_ended:
        raise HTTPException(404, f"there is no silence {number}")
    desk.readings.forget("alerts")
    return Response(json.dumps({"ended": number}), media_type="application/json")


@router.get("/breakers")
def show_breakers(request: Request, desk: Own, rights: Given) -> Response:
    """Return the circuit breakers."""
    require(rights.sees_platform, ACTIVITY)
    board = expect(desk.readings.read_breakers(), "circuit breakers")
    return answer(request, views.show_breakers(rights, board))


@router.get("/audit")
def show_changes(request: Request, desk: Own, rights: Given) -> Response:
    """Return the last rows of the audit log. They may name any Dag and any user."""
    require(rights.audits, AUDIT)
    return answer(request, views.show_changes(expect(desk.readings.read_changes(), "audit log")))


@router.get("/alerts")
def show_alerts(request: Request, desk: Own, rights: Given) -> Response:
    """Return the alerts that the user may see."""
    require(bool(rights.dags) or rights.sees_platform, ANY_DAG)
    board = expect(desk.readings.read_alerts(), "alerts")
    return answer(request, views.show_alerts(rights, board))


@router.post("/alerts/{alert}/acknowledge")
def acknowledge(alert: int, body: AcknowledgementBody, desk: Own, rights: Given, user: User) -> Response:
    """Acknowledge an alert, which ends its escalation. A refused try is audited too."""
    seen = _sees(desk, rights, alert)
    status = 403 if not rights.operates else 200 if seen else 404
    with desk.session() as session:
        if status == 200:
            connection = session.connection().connection
            alert_schema.acknowledge(connection, alert, actor=rights.name, via="ui", note=body.note)
        record(session, user, "airfleet_acknowledge_alert", {"alert": alert, "note": body.note, "status": status})
    require(rights.operates, OPERATE)
    if not seen:
        raise HTTPException(404, f"there is no alert {alert}")
    desk.readings.forget("alerts")
    return Response(json.dumps({"acknowledged": alert}), media_type="application/json")


@router.post("/releases/rollback")
def roll_back(body: Rollback, desk: Own, rights: Given, user: User) -> Response:
    """Request that an earlier release is live again. A refused try is audited too."""
    board = desk.readings.read_releases() if rights.reads_all else None
    status, problem = _judge_rollback(body, rights, board)
    extra: dict[str, Any] = {"live": body.live, "release": body.release, "reason": body.reason}
    with desk.session() as session:
        query = metadata_db.query_in(session)
        if status == 200 and body.release and release_list.touch(query, body.release) is None:
            status, problem = 409, "the files of this release were removed"
        if status == 200 and board is not None:
            extra["deployment"] = release_list.request(
                query,
                board.bundle,
                DeploymentAction.ROLLBACK,
                body.release,
                actor=rights.name,
                reason=body.reason,
                detail={},
            )
        record(session, user, "airfleet_roll_back", {**extra, "status": status})
    if status != 200:
        raise HTTPException(status, problem)
    desk.readings.forget("releases")
    return Response(json.dumps({"deployment": extra["deployment"]}), media_type="application/json")


@router.get("/explain")
def show_explanation(
    request: Request,
    desk: Own,
    rights: Given,
    user: User,
    dag: str,
    run: str | None = None,
    task: str | None = None,
    map_index: int = -1,
) -> Response:
    """Return why a Dag, a run or a task instance does not run."""
    require(logins.may_read_dag(user, dag), f"Task Instances (read) of the Dag {dag}")
    is_task = bool(run and task)
    subject = Subject(dag, run, task if is_task else None, map_index if is_task else -1)
    with desk.snapshot() as query:
        facts = reading.read(query, subject, executor=_find_executor(), parallelism=_find_parallelism())
    if facts.dag is None or (run and facts.run is None) or (is_task and not facts.tasks):
        raise HTTPException(404, "there is no such Dag, run or task instance")
    if any(one.state == "queued" for one in facts.tasks) and facts.platform.executor != "local":
        facts = replace(facts, unread=(*facts.unread, UNASKED))
    return answer(request, model.to_json(explain(views.hide_holders(rights, facts))))


def _judge_rollback(body: Rollback, rights: Rights, board: ReleaseBoard | None) -> tuple[int, str]:
    """Return the status of a rollback, and why it is refused."""
    if not rights.operates or not rights.reads_all:
        return 403, f"you need the right {OPERATE if rights.reads_all else EVERY_DAG}"
    if board is None or board.live is None:
        return 404, "no release is live"
    if board.live.id != body.live:
        return 409, "another release is live now; look at the page again"
    if any(one.state in PENDING for one in board.deployments):
        return 409, "a deployment is under way; wait for its end"
    if body.release and body.release not in {one.id for one in board.releases if one.was_live and not one.collected}:
        return 404, "there is no such earlier release"
    return 200, ""


def make_app(desk: Desk) -> FastAPI:
    """Return the application, which works with `desk`."""
    checks = [Depends(require_plain_text)]
    made = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, dependencies=checks)
    made.state.desk = desk
    made.include_router(router)
    made.include_router(inquiry.router)
    made.include_router(pool_routes.router)
    made.add_exception_handler(SQLAlchemyError, _report_outage)
    return made


def _report_outage(_: Request, error: Exception) -> Response:
    if not db_errors.is_outage(error):
        raise error
    body = json.dumps({"detail": "the metadata database does not answer; try again"})
    return Response(body, 503, {"Retry-After": "5"}, "application/json")


def _sees(desk: Desk, rights: Rights, alert: int) -> bool:
    board = desk.readings.read_alerts()
    return any(one.id == alert and views.sees_alert(rights, one) for one in (board.alerts if board else ()))


def _find_executor() -> str | None:
    """Return `celery` or `local` where the platform told this process. On a fleet only the scheduler is told."""
    named = os.environ.get("AIRFLOW__CORE__EXECUTOR", "").lower()
    return ("celery" if "celery" in named else "local") if named else None


def _find_parallelism() -> int | None:
    text = os.environ.get("AIRFLOW__CORE__PARALLELISM", "")
    return int(text) if text.isdigit() else None


app = make_app(Desk())
