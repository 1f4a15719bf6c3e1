"""What the routes of the Fleet pages work with: who asks, what the user may do, and how an answer is sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from fastapi import Depends, HTTPException, Request, Response

from airfleet_provider.compat.calls import db_errors, logins, metadata_db
from airfleet_provider.console.log_desk import LogDesk
from airfleet_provider.console.readings import Readings, Snapshot
from airfleet_provider.console.rights import KEPT_S, Rights, find_rights
from airfleet_provider.contract.text import is_plain
from airfleet_provider.processes.cache import Cache

# How long what was read is shown to other pages and users. A page reads anew every 10 s.
FRESH_S = 3.0
REPORT_S = 60.0
# The id of a release has 65 characters.
LONGEST_ID = 200
# The end of the names of events that changed nothing. `contract/incident/reading.sql` leaves them out.
REFUSED = "_refused"
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


async def require_plain_text(request: Request) -> None:
    """Refuse control characters in whatever a client writes: no id has one, and PostgreSQL keeps no NUL."""
    words: list[object] = [*request.path_params.values()]
    words += [word for pair in request.query_params.multi_items() for word in pair]
    with suppress(ValueError, RecursionError):
        words.append(json.loads(await request.body() or b"null"))
    while words:
        match words.pop():
            case str() as text if not is_plain(text):
                raise HTTPException(422, "a text has control characters")
            case dict() as found:
                words += [*found.keys(), *found.values()]
            case list() as found:
                words += found


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
    logs: LogDesk = field(default_factory=LogDesk)


def find_desk(request: Request) -> Desk:
    """Return what the routes of this application work with."""
    desk: Desk = request.app.state.desk
    return desk


Own = Annotated[Desk, Depends(find_desk)]
Board = TypeVar("Board")


def find_own_rights(user: User, desk: Own) -> Rights:
    """Return the rights of the user who sends the request."""

    def ask() -> Rights:
        with desk.snapshot() as query:
            return find_rights(user, query)

    return desk.rights.get(str(user.get_id()), ask)


Given = Annotated[Rights, Depends(find_own_rights)]


def record(session: Any, user: Any, event: str, extra: Mapping[str, Any]) -> None:  # noqa: ANN401 - Airflow's own
    """Write a try to the audit log. One that was refused has a name of its own, since it changed nothing."""
    logins.record(session, user, event if extra["status"] == 200 else f"{event}{REFUSED}", extra)


def expect(board: Board | None, what: str) -> Board:
    """Return what was read. Raises HTTPException with 404 if this platform does not have it."""
    if board is None:
        raise HTTPException(404, f"this platform keeps no {what}")
    return board


def require(is_given: bool, right: str) -> None:
    """Raise HTTPException with 403, which names the right that is missing, unless it is given."""
    if not is_given:
        raise HTTPException(403, f"you need the right {right}")


def answer(request: Request, body: object) -> Response:
    """Return a body with a tag of its content. A browser that has this content gets the tag alone."""
    raw = json.dumps(body, separators=(",", ":"), default=str).encode()
    tag = f'"{hashlib.sha256(raw).hexdigest()[:24]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Cookie, Authorization"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(raw, media_type="application/json", headers=headers)
