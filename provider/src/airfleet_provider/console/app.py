"""The API of the Fleet pages, as an application in the api-server. Every route asks who the user is."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError

from airfleet_provider.compat.calls import db_errors, logins, metadata_db
from airfleet_provider.console import views
from airfleet_provider.console.cache import Cache
from airfleet_provider.console.readings import Readings, ReleaseBoard, Snapshot
from airfleet_provider.console.rights import KEPT_S, Rights, find_rights
from airfleet_provider.contract import alert_list, alert_schema, release_list
from airfleet_provider.contract.explanation import model, reading
from airfleet_provider.contract.explanation.explain import explain
from airfleet_provider.contract.explanation.model import Subject
from airfleet_provider.contract.release_schema import PENDING, DeploymentAction

# How long what was read is shown to other pages and users. A page reads anew every 10 s.
FRESH_S = 3.0
REPORT_S = 60.0
# The id of a release has 65 characters.
LONGEST_ID = 200
# The end of the names of events that changed nothing. `contract/incident/reading.sql` leaves them out.
REFUSED = "_refused"
UNASKED = "broker and workers were not asked: `airfleet explain` on the command line asks them"
# The rights that a refusal names, in Airflow's words.
ACTIVITY = "Cluster Activity (read), to see the whole platform"
OPERATE = "Pools (edit), which the roles Op and Admin have, to operate the platform"
EVERY_DAG = "DAGs (read), since a release holds all of them"
AUDIT = "Audit Logs (read), for every Dag"
ANY_DAG = "DAGs (read), for at least one Dag"


def require_json(request: Request) -> None:
    """Refuse a change that is not sent as JSON: no page of another origin may send that with the user's cookie."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method == "POST" and kind != "application/json":
        raise HTTPException(415, "a change is sent as application/json")


router = APIRouter(dependencies=[Depends(require_json)])
User = Annotated[Any, Depends(logins.get_user)]


def _make_cache(kept_s: float) -> Cache:
    return Cache(kept_s, keeps_error=db_errors.is_outage)


@dataclass(frozen=True, slots=True)
class Desk:
    """What the routes work with: `snapshot` reads the metadata database, and `session` writes to it."""

    snapshot: Snapshot = metadata_db.open_snapshot
    session: Callable[[], AbstractContextManager[Any]] = metadata_db.open_session
    readings: Readings = field(
        default_factory=lambda: Readings(metadata_db.open_snapshot, _make_cache(FRESH_S), _make_cache(REPORT_S))
    )
    rights: Cache = field(default_factory=lambda: _make_cache(KEPT_S))


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


def find_desk(request: Request) -> Desk:
    """Return what the routes of this application work with."""
    desk: Desk = request.app.state.desk
    return desk


Own = Annotated[Desk, Depends(find_desk)]
Board = TypeVar("Board")


def find(user: User, desk: Own) -> Rights:
    """Return the rights of the user who sends the request."""

    def ask() -> Rights:
        with desk.snapshot() as query:
            return find_rights(user, query)

    return desk.rights.get(str(user.get_id()), ask)


Given = Annotated[Rights, Depends(find)]


@router.get("/overview")
def show_overview(request: Request, desk: Own, rights: Given) -> Response:
    """Return whether the platform is well, and what is wrong."""
    _require(rights.sees_platform, ACTIVITY)
    readings = desk.readings
    found = (readings.read_alerts(), readings.read_releases(), readings.read_promises(), readings.read_breakers())
    return _answer(request, views.show_overview(rights, readings.read_activity(), *found))


@router.get("/pools")
def show_pools(request: Request, desk: Own, rights: Given) -> Response:
    """Return slot pools, queues, hosts and the tasks that run longest."""
    _require(rights.sees_platform, ACTIVITY)
    return _answer(request, views.show_pools(rights, desk.readings.read_activity()))


@router.get("/releases")
def show_releases(request: Request, desk: Own, rights: Given) -> Response:
    """Return the releases and deployments. What they say may name any Dag, so whoever sees it may read them all."""
    _require(rights.reads_all, EVERY_DAG)
    board = _expect(desk.readings.read_releases(), "releases")
    return _answer(request, views.show_releases(rights, board))


@router.get("/slas")
def show_slas(request: Request, desk: Own, rights: Given) -> Response:
    """Return the promises about the user's Dags."""
    _require(bool(rights.dags) or rights.sees_platform, ANY_DAG)
    board = _expect(desk.readings.read_promises(), "promises")
    return _answer(request, views.show_promises(rights, board, desk.readings.read_report() or ()))


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
        _record(session, user, "airfleet_silence_alert", extra)
    _require(rights.operates, OPERATE)
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
        _record(session, user, "airfleet_end_silence", {"silence": number, "status": status})
    _require(is_allowed, OPERATE)
    if not is_ended:
        raise HTTPException(404, f"there is no silence {number}")
    desk.readings.forget("alerts")
    return Response(json.dumps({"ended": number}), media_type="application/json")


@router.get("/breakers")
def show_breakers(request: Request, desk: Own, rights: Given) -> Response:
    """Return the circuit breakers."""
    _require(rights.sees_platform, ACTIVITY)
    board = _expect(desk.readings.read_breakers(), "circuit breakers")
    return _answer(request, views.show_breakers(rights, board))


@router.get("/audit")
def show_changes(request: Request, desk: Own, rights: Given) -> Response:
    """Return the last rows of the audit log. They may name any Dag and any user."""
    _require(rights.audits, AUDIT)
    return _answer(request, views.show_changes(_expect(desk.readings.read_changes(), "audit log")))


@router.get("/alerts")
def show_alerts(request: Request, desk: Own, rights: Given) -> Response:
    """Return the alerts that the user may see."""
    _require(bool(rights.dags) or rights.sees_platform, ANY_DAG)
    board = _expect(desk.readings.read_alerts(), "alerts")
    return _answer(request, views.show_alerts(rights, board))


@router.post("/alerts/{alert}/acknowledge")
def acknowledge(alert: int, body: AcknowledgementBody, desk: Own, rights: Given, user: User) -> Response:
    """Acknowledge an alert, which ends its escalation. A refused try is audited too."""
    seen = _sees(desk, rights, alert)
    status = 403 if not rights.operates else 200 if seen else 404
    with desk.session() as session:
        if status == 200:
            connection = session.connection().connection
            alert_schema.acknowledge(connection, alert, actor=rights.name, via="ui", note=body.note)
        _record(session, user, "airfleet_acknowledge_alert", {"alert": alert, "note": body.note, "status": status})
    _require(rights.operates, OPERATE)
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
        _record(session, user, "airfleet_roll_back", {**extra, "status": status})
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
    _require(logins.may_read_dag(user, dag), f"Task Instances (read) of the Dag {dag}")
    is_task = bool(run and task)
    subject = Subject(dag, run, task if is_task else None, map_index if is_task else -1)
    with desk.snapshot() as query:
        facts = reading.read(query, subject, executor=_find_executor(), parallelism=_find_parallelism())
    if facts.dag is None or (run and facts.run is None) or (is_task and not facts.tasks):
        raise HTTPException(404, "there is no such Dag, run or task instance")
    if any(one.state == "queued" for one in facts.tasks) and facts.platform.executor != "local":
        facts = replace(facts, unread=(*facts.unread, UNASKED))
    return _answer(request, model.to_json(explain(views.hide_holders(rights, facts))))


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
    made = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    made.state.desk = desk
    made.include_router(router)
    made.add_exception_handler(SQLAlchemyError, _report_outage)
    return made


def _record(session: Any, user: Any, event: str, extra: Mapping[str, Any]) -> None:  # noqa: ANN401 - Airflow's own
    """Write a try to the audit log. One that was refused has a name of its own, since it changed nothing."""
    logins.record(session, user, event if extra["status"] == 200 else f"{event}{REFUSED}", extra)


def _report_outage(_: Request, error: Exception) -> Response:
    if not db_errors.is_outage(error):
        raise error
    body = json.dumps({"detail": "the metadata database does not answer; try again"})
    return Response(body, 503, {"Retry-After": "5"}, "application/json")


def _expect(board: Board | None, what: str) -> Board:
    if board is None:
        raise HTTPException(404, f"this platform keeps no {what}")
    return board


def _sees(desk: Desk, rights: Rights, alert: int) -> bool:
    board = desk.readings.read_alerts()
    return any(one.id == alert and views.sees_alert(rights, one) for one in (board.alerts if board else ()))


def _require(is_given: bool, right: str) -> None:
    if not is_given:
        raise HTTPException(403, f"you need the right {right}")


def _answer(request: Request, body: object) -> Response:
    """Return a body with a tag of its content. A browser that has this content gets the tag alone."""
    raw = json.dumps(body, separators=(",", ":"), default=str).encode()
    tag = f'"{hashlib.sha256(raw).hexdigest()[:24]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Cookie, Authorization"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(raw, media_type="application/json", headers=headers)


def _find_executor() -> str | None:
    """Return `celery` or `local` where the platform told this process. On a fleet only the scheduler is told."""
    named = os.environ.get("AIRFLOW__CORE__EXECUTOR", "").lower()
    return ("celery" if "celery" in named else "local") if named else None


def _find_parallelism() -> int | None:
    text = os.environ.get("AIRFLOW__CORE__PARALLELISM", "")
    return int(text) if text.isdigit() else None


app = make_app(Desk())
