"""Which requests the audit log records, decided from method, path and status. No I/O.

Every request that is not a GET is recorded, but for the rules below that name it as reading, or as a task's own work.
So a route that a new version of Airflow adds is recorded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qs

from airfleet_provider.audit.statements import ChangedRow
from airfleet_provider.contract import slot_rules
from airfleet_provider.contract.audit_log import AuditOutcome, AuditSource

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class RequestKind(StrEnum):
    """What a request is to the audit log."""

    READING = "reading"  # not recorded
    CHANGE = "change"
    LOGIN = "login"  # a change, by somebody who is not known yet
    DEPARTURE = "departure"  # sends a browser to the OpenID provider; not recorded, and limited
    SECRET = "secret"  # noqa: S105 - reads a secret
    GUARDED = "guarded"  # recorded only if it is refused


# Airflow's UI and API: requests that only read although their method is not GET.
READING = re.compile(
    r"/api/v2/dags/[^/]+/dagRuns/list"
    r"|/api/v2/dags/[^/]+/dagRuns/[^/]+/taskInstances/list"
    # Keys of XComs and of stored values may hold a slash, so these two paths have no end of any length.
    r"|/api/v2/dags/[^/]+/dagRuns/[^/]+/taskInstances/[^/]+(/-?\d+)?/dry_run"
    r"|/api/v2/dags/[^/]+/dagRuns/[^/]+/taskGroupInstances/[^/]+/dry_run"
    r"|/api/v2/backfills/dry_run"
    # What workers report of their load, several times a minute. It is signed, and decides the number of slots alone.
    rf"|{re.escape(slot_rules.PATH)}(/.*)?"
)
# Where a browser leaves for an OpenID provider, and where the provider sends it after a login.
DEPARTURE = re.compile(r"/auth/login/[^/]+/?")
RETURN = re.compile(r"/auth/oauth-authorized/[^/]+/?")
# GETs that change something: FAB's pages take some actions as links, and a logout is one.
CHANGING_GETS = re.compile(
    r"/auth/(actions|permissions|resources|roles|users)/(action|delete)/.*"
    r"|/auth/logout/?|/api/v2/auth/logout"
)
LOGINS = re.compile(r"/auth/token(/cli)?/?|/auth/login/?|/auth/api/v1/security/login|/ui/auth/token")
FORM = re.compile(r"/auth/login/?")
# The only kind of body whose fields are read here as the login page reads them. It takes others too.
FORM_KIND = "application/x-www-form-urlencoded"

# The execution API: what a task reads that is a secret, or may be one.
SECRETS = re.compile(
    r"/execution/connections/[^/]+|/execution/variables/(?!keys$).+|/execution/connection-tests/[^/]+/connection"
)
# What a list of fleet.yaml may refuse. A row for each XCom would be too many.
XCOMS = re.compile(r"/execution/xcoms/.*")
# What a task does for its own run: its states, heartbeats, XComs, and values that it stores.
OWN_WORK = re.compile(r"/execution/(task-instances|xcoms|hitlDetails|store|connection-tests)/.*")

# Objects whose row is hashed before and after the change. Each table has an index on these columns.
_TARGETS = (
    (re.compile(r"/api/v2/connections/([^/]+)"), "connection", ("conn_id",)),
    (re.compile(r"/api/v2/variables/(.+)"), "variable", ("key",)),
    (re.compile(r"/api/v2/pools/(.+)"), "slot_pool", ("pool",)),
    (re.compile(r"/api/v2/dags/([^/]+)"), "dag", ("dag_id",)),
    (re.compile(r"/api/v2/dags/([^/]+)/dagRuns/([^/]+)(?:/clear)?"), "dag_run", ("dag_id", "run_id")),
    (re.compile(r"/auth/fab/v1/users/([^/]+)"), "ab_user", ("username",)),
    (re.compile(r"/auth/fab/v1/roles/([^/]+)"), "ab_role", ("name",)),
)
# The field of the body that names a new object.
_NEW = {
    "POST /api/v2/connections": ("connection", "conn_id", "connection_id"),
    "POST /api/v2/variables": ("variable", "key", "key"),
    "POST /api/v2/pools": ("slot_pool", "pool", "name"),
    "POST /auth/fab/v1/users": ("ab_user", "username", "username"),
    "POST /auth/fab/v1/roles": ("ab_role", "name", "name"),
}
REFUSED = frozenset({401, 403, 429})


@dataclass(frozen=True, slots=True)
class AuditRules:
    """The rules of one application. `are_tasks` says that task instances send the requests."""

    source: AuditSource
    are_tasks: bool = False

    def classify(self, method: str, path: str) -> RequestKind:
        """Return what a request is. `path` is not percent-encoded, and is below the path of the application."""
        if self.are_tasks:
            return _classify_task(method, path)
        if RETURN.fullmatch(path):
            return RequestKind.LOGIN
        if DEPARTURE.fullmatch(path) and method in SAFE:
            return RequestKind.DEPARTURE
        if LOGINS.fullmatch(path):
            return RequestKind.READING if method in SAFE else RequestKind.LOGIN
        if method in SAFE:
            return RequestKind.CHANGE if CHANGING_GETS.fullmatch(path) else RequestKind.READING
        return RequestKind.READING if READING.fullmatch(path) else RequestKind.CHANGE

    def find_target(self, method: str, path: str) -> ChangedRow | None:
        """Return the row that a request is about, if it exists already and has a rule."""
        if method in SAFE or self.are_tasks:
            return None
        for pattern, table, columns in _TARGETS:
            if found := pattern.fullmatch(path):
                return ChangedRow(table, columns, found.groups())
        return None

    def find_new(self, action: str, body: bytes) -> ChangedRow | None:
        """Return the row that a request made, from the name in its body."""
        if action not in _NEW:
            return None
        table, column, name = _NEW[action]
        value = _read_fields(body).get(name)
        return ChangedRow(table, (column,), (value,)) if isinstance(value, str) and "\0" not in value else None

    def find_name(self, path: str, body: bytes, kinds: Sequence[bytes]) -> str:
        """Return the name that somebody tries to log in with, read as the login page or the token endpoint reads it.

        A body that is both a form and JSON, or both a form and one of several parts, could name another user to whoever
        reads it in the other way. `kinds` are the values of the header that says what it is. All logins whose name
        cannot be told count as those of one user without a name.
        """
        is_form = [one.partition(b";")[0].strip().lower().decode("latin-1") for one in kinds] == [FORM_KIND]
        if FORM.fullmatch(path):
            value = _read_form(body).get("username", "") if is_form else ""
        else:
            value = _read_fields(body).get("username", "")
        return value if isinstance(value, str) else ""

    def judge(self, path: str, status: int, *, is_known: bool) -> AuditOutcome:
        """Return what became of a request. `is_known` says that FAB's pages know the user after it.

        The login page answers with a redirect in either case, and so does the return from an OpenID provider. Where
        nobody could be asked who the user is, nobody was refused.
        """
        is_login = bool(FORM.fullmatch(path) or RETURN.fullmatch(path)) and status < 500
        if status in REFUSED or (is_login and not is_known):
            return AuditOutcome.REFUSED
        return AuditOutcome.DONE if status < 400 else AuditOutcome.FAILED


def is_return(action: str) -> bool:
    """Return whether an action, such as `GET /auth/…`, is the return from an OpenID provider. It names nobody."""
    return bool(RETURN.fullmatch(action.partition(" ")[2]))


def _classify_task(method: str, path: str) -> RequestKind:
    if XCOMS.fullmatch(path):
        return RequestKind.GUARDED
    if method in SAFE:
        return RequestKind.SECRET if SECRETS.fullmatch(path) else RequestKind.READING
    return RequestKind.READING if OWN_WORK.fullmatch(path) else RequestKind.CHANGE


def _read_fields(body: bytes) -> dict[str, object]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _read_form(body: bytes) -> dict[str, object]:
    """Return the fields of a form. Of a name that is there twice, Flask takes the first value."""
    try:
        return {name: values[0] for name, values in parse_qs(body.decode("ascii"), keep_blank_values=True).items()}
    except ValueError:
        return {}
