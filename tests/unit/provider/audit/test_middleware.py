"""What is recorded of a request, before and after the application answers it."""

# An ASGI application has no types.
# ruff: noqa: ANN401

from __future__ import annotations

import asyncio
import json
from concurrent.futures import Future
from typing import Any

import pytest
from werkzeug.wrappers import Request

from airfleet_provider.audit import current_user, login_limits, middleware
from airfleet_provider.audit.middleware import (
    DEPARTURES_AT_MOST,
    FAILED_AT_MOST,
    KEPT_BYTES,
    OF_A_TASK_AT_MOST,
    REFUSED_AT_MOST,
    UNKNOWN_AT_MOST,
    Audit,
)
from airfleet_provider.audit.requests import AuditRules
from airfleet_provider.contract.audit_log import AuditSource

INSTANCE = "0199a1b2-0000-7000-8000-000000000001"


class Cursor:
    """Notes what is written, and knows one user and one task instance."""

    def __init__(self, written: list[tuple[str, dict[str, Any]]], said: list[str]) -> None:
        self._written = written
        self._said = said
        self._row: Any = None

    def execute(self, statement: str, words: Any) -> None:
        self._said.append(statement)
        self._row = None
        if "login_failure" in statement or "login_place" in statement:
            # Nobody has failed yet; tests/services counts in a database.
            self._row = (0, 0, 0, False)
        elif "INSERT" in statement:
            kind = "intent" if "audit_intent (" in statement else "row"
            self._written.append((kind, json.loads(words["entry"])))
        elif statement.startswith("SELECT ("):
            # The name of the user, and the hash of a row that is not there.
            self._row = (*(["alice"] if "ab_user" in statement else []), *([None] if "sha256" in statement else []))
        elif "task_instance" in statement:
            self._row = ("etl", "run1", "load", -1, 2)

    def fetchone(self) -> Any:
        return self._row


class Recorder:
    """Executes at once; while `is_away`, everything fails. What `is_slow` has begun, and does not end."""

    def __init__(self) -> None:
        self.written: list[tuple[str, dict[str, Any]]] = []
        self.said: list[str] = []
        self.is_away = self.is_slow = False

    def submit(self, work: Any, *, is_kept: bool = False) -> Future[Any]:
        future: Future[Any] = Future()
        if self.is_away:
            future.set_exception(ConnectionError())
        elif self.is_slow and not is_kept:
            future.set_running_or_notify_cancel()
        else:
            future.set_result(work(Cursor(self.written, self.said)))
        return future


class Site:
    """An application behind the audit log, and the answers that clients get."""

    def __init__(self, *, source: AuditSource = AuditSource.API, subject: str = "7") -> None:
        self.recorder = Recorder()
        self.subject = subject
        self.status = 200
        self.user = ""
        self.calls = 0
        self.seen_at_call: list[str] = []
        rules = AuditRules(source, are_tasks=source is AuditSource.TASK)
        self._audit = Audit(
            self._serve,
            rules,
            self.recorder,  # type: ignore[arg-type]
            self._read_subject,
            key=b"key",
            clock=lambda: 0.0,
        )

    async def _read_subject(self, scope: Any) -> str:
        return self.subject

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        self.calls += 1
        self.seen_at_call = [kind for kind, _ in self.recorder.written]
        await receive()
        current_user.note(self.user)
        if not self.status:
            raise RuntimeError("the application failed")
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": b"answer"})

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        kind: bytes = b"application/x-www-form-urlencoded",
        address: str = "10.0.0.9",
        has_more: bool = False,
    ) -> int:
        """Send a request, and return the status of the answer."""
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": has_more}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(b"content-type", kind)],
            "client": (address, 1),
        }
        asyncio.run(self._audit(scope, receive, send))
        return int(sent[0]["status"])

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [entry for kind, entry in self.recorder.written if kind == "row"]


def test_an_intent_is_committed_before_a_change_and_its_outcome_before_the_answer() -> None:
    site = Site()
    assert site.ask("PATCH", "/api/v2/pools/io", b'{"slots": 3}') == 200
    assert site.seen_at_call == ["intent"]
    [row] = site.rows
    assert (row["actor"], row["address"], row["outcome"], row["status"]) == ("alice", "10.0.0.9", "done", 200)
    assert row["action"] == "PATCH /api/v2/pools/io"
    assert len(row["body"]) == 64
    assert "slots" not in json.dumps(row)


@pytest.mark.parametrize(("status", "outcome"), [(403, "refused"), (404, "failed"), (500, "failed"), (204, "done")])
def test_the_outcome_is_that_of_the_answer(status: int, outcome: str) -> None:
    site = Site()
    site.status = status
    site.ask("DELETE", "/api/v2/dags/etl")
    assert [row["outcome"] for row in site.rows] == [outcome]


def test_a_request_without_an_answer_has_a_row() -> None:
    site = Site()
    site.status = 0
    with pytest.raises(RuntimeError):
        site.ask("DELETE", "/api/v2/dags/etl")
    assert [(row["outcome"], row["status"]) for row in site.rows] == [("failed", 500)]


def test_nothing_changes_while_the_audit_log_is_away() -> None:
    site = Site()
    site.recorder.is_away = True
    assert site.ask("DELETE", "/api/v2/dags/etl") == 503
    assert site.calls == 0
    assert site.ask("GET", "/api/v2/dags") == 200


def test_reading_is_not_recorded() -> None:
    site = Site()
    site.ask("GET", "/api/v2/connections")
    site.ask("POST", "/api/v2/dags/~/dagRuns/list")
    assert site.recorder.written == []


def test_a_failed_login_has_the_name_that_was_tried_and_no_password() -> None:
    site = Site()
    site.status = 401
    site.ask("POST", "/auth/token", b'{"username": "bob", "password": "hunter2"}')
    [row] = site.rows
    assert (row["actor"], row["outcome"]) == ("bob", "refused")
    assert "hunter2" not in json.dumps(row)
    # A hash of the body would let its reader try passwords.
    assert "body" not in row


FORM = (b"application/x-www-form-urlencoded; charset=utf-8",)
PARTS = b"""--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n&username=nobody&y=\r
--x\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\nbob\r\n--x--\r\n"""


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/auth/token", b'{"username": "bob", "x": "&username=alice&y="}', "bob"),
        ("/auth/login/", b'{"username": "bob", "x": "&username=alice&y="}', "alice"),
        ("/auth/login/", b"username=alice&username=bob", "alice"),
        ("/auth/token", b"username=alice", ""),
        ("/auth/token", b'{"username": ["alice"]}', ""),
        ("/auth/login/", b"\xff", ""),
    ],
)
def test_a_name_is_read_as_the_application_reads_it(path: str, body: bytes, name: str) -> None:
    assert AuditRules(AuditSource.API).find_name(path, body, FORM) == name


@pytest.mark.parametrize(
    ("kinds", "body"),
    [
        ((b"multipart/form-data; boundary=x",), PARTS),
        ((b"multipart/form-data; boundary=x", *FORM), PARTS),
        ((b"application/json",), b'{"username": "bob", "x": "&username=nobody&y="}'),
        ((), b"username=nobody"),
    ],
)
def test_a_login_that_the_page_reads_in_another_way_counts_for_no_chosen_name(
    kinds: tuple[bytes, ...], body: bytes
) -> None:
    assert AuditRules(AuditSource.API).find_name("/auth/login/", body, kinds) == ""
    request = Request.from_values(data=body, method="POST", content_type=b",".join(kinds).decode())
    assert request.form.get("username") in ("bob", None)


def test_the_beginning_of_a_long_login_names_nobody() -> None:
    site = Site()
    site.status = 302
    # The next bytes may be `in`.
    site.ask("POST", "/auth/login/", b"a" * KEPT_BYTES + b"&username=adm", has_more=True)
    assert [row.get("actor") for row in site.rows] == [None]


@pytest.mark.parametrize(("user", "outcome"), [("bob", "done"), ("", "refused")])
def test_the_login_page_answers_with_a_redirect_in_either_case(user: str, outcome: str) -> None:
    site = Site(subject="")
    site.status, site.user = 302, user
    site.ask("POST", "/auth/login/", b"csrf_token=x&username=bob&password=hunter2")
    assert [(row["actor"], row["outcome"]) for row in site.rows] == [("bob", outcome)]


def test_the_session_of_a_page_goes_before_a_token() -> None:
    site = Site()
    site.user = "carol"
    site.ask("POST", "/auth/users/add", b"username=x")
    assert [row["actor"] for row in site.rows] == ["carol"]


def test_a_secret_that_a_task_reads_is_recorded_once_under_the_name_of_the_task() -> None:
    site = Site(source=AuditSource.TASK, subject=INSTANCE)
    for _ in range(3):
        assert site.ask("GET", "/execution/connections/crm") == 200
    site.ask("GET", "/execution/variables/key")
    assert [row["action"] for row in site.rows] == ["GET /execution/connections/crm", "GET /execution/variables/key"]
    assert site.rows[0]["actor"] == "etl run1 load try 2"


def test_a_secret_is_not_given_out_without_its_row() -> None:
    site = Site(source=AuditSource.TASK, subject=INSTANCE)
    site.recorder.is_away = True
    assert site.ask("GET", "/execution/connections/crm") == 503


def test_a_task_with_a_bad_token_gets_the_answer_of_the_application() -> None:
    site = Site(source=AuditSource.TASK, subject="")
    site.status = 401
    assert site.ask("GET", "/execution/connections/crm") == 401
    assert [(row.get("actor"), row["outcome"]) for row in site.rows] == [(None, "refused")]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", f"/execution/task-instances/{INSTANCE}/run"),
        ("PUT", f"/execution/task-instances/{INSTANCE}/heartbeat"),
        ("POST", "/execution/xcoms/etl/run1/load/key"),
        ("GET", "/execution/dags/etl"),
    ],
)
def test_the_own_work_of_a_task_costs_nothing(method: str, path: str) -> None:
    site = Site(source=AuditSource.TASK, subject=INSTANCE)
    site.ask(method, path)
    assert site.recorder.written == []


def test_neither_strangers_nor_a_task_fill_the_database() -> None:
    stranger = Site(subject="")
    stranger.status = 401
    answers = [stranger.ask("POST", "/api/v2/pools") for _ in range(UNKNOWN_AT_MOST + 5)]
    assert answers.count(429) == 5
    task = Site(source=AuditSource.TASK, subject=INSTANCE)
    answers = [task.ask("GET", f"/execution/variables/{number}") for number in range(OF_A_TASK_AT_MOST + 3)]
    assert answers.count(429) == 3


def test_an_address_asks_an_openid_provider_so_often_and_no_oftener() -> None:
    site = Site(subject="")
    answers = [site.ask("GET", "/auth/login/oidc") for _ in range(DEPARTURES_AT_MOST + 2)]
    assert (answers.count(200), answers.count(429), site.calls) == (DEPARTURES_AT_MOST, 2, DEPARTURES_AT_MOST)
    assert site.ask("GET", "/auth/login/oidc", address="10.0.0.10") == 200
    assert site.ask("GET", "/auth/login/") == 200, "the page itself is a reading"
    assert site.recorder.written == []


def test_a_return_from_an_openid_provider_is_a_login_with_the_limits_of_one() -> None:
    site = Site(subject="")
    site.user = "ann"
    assert site.ask("GET", "/auth/oauth-authorized/oidc") == 200
    assert (site.rows[-1]["actor"], site.rows[-1]["outcome"]) == ("ann", "done")
    assert any("login_failure" in one for one in site.recorder.said)
    site.user = ""
    site.ask("GET", "/auth/oauth-authorized/oidc")
    assert site.rows[-1]["outcome"] == "refused"


def test_a_user_whose_tries_change_nothing_does_not_fill_the_database() -> None:
    for status, most in ((403, REFUSED_AT_MOST), (404, FAILED_AT_MOST)):
        site = Site()
        site.status = status
        answers = [site.ask("POST", "/api/v2/pools") for _ in range(most + 5)]
        assert (answers.count(status), answers.count(429), site.calls) == (most, 5, most)
        assert [one["detail"] for one in site.rows if "limit" in one.get("detail", {})] == [{"limit": "user"}]
        site.subject, site.status = "8", 200
        assert site.ask("POST", "/api/v2/pools") == 200, "another user"


def test_a_user_whose_changes_succeed_or_meet_an_outage_is_never_stopped() -> None:
    site = Site()
    for status in (200, 503):
        site.status = status
        assert {site.ask("POST", "/api/v2/pools") for _ in range(2 * FAILED_AT_MOST)} == {status}


def test_a_secret_that_has_its_row_may_be_read_as_often_as_a_task_wants() -> None:
    site = Site(source=AuditSource.TASK, subject=INSTANCE)
    answers = [site.ask("GET", "/execution/variables/key") for _ in range(OF_A_TASK_AT_MOST + 3)]
    assert set(answers) == {200}
    assert len(site.rows) == 1


def test_an_intent_that_takes_too_long_is_withdrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "INTENT_S", 0.01)
    site = Site()
    site.recorder.is_slow = True
    for path in ("/api/v2/pools", "/auth/token"):
        site.recorder.said.clear()
        assert site.ask("POST", path, b"{}") == 503
        assert any(one.startswith("DELETE FROM airfleet.audit_intent") for one in site.recorder.said)
    assert (site.calls, site.rows) == (0, [])


def test_the_addresses_of_one_network_of_ipv6_count_as_one() -> None:
    stranger = Site(subject="")
    stranger.status = 401
    answers = [stranger.ask("POST", "/api/v2/pools", address=f"2001:db8::{n:x}") for n in range(UNKNOWN_AT_MOST + 5)]
    assert answers.count(429) == 5
    assert stranger.rows[0]["address"] == "2001:db8::0"
    assert stranger.ask("POST", "/api/v2/pools", address="2001:db8:0:1::") == 401
    found = [login_limits.find_network(one) for one in ("::ffff:10.0.0.9", "10.0.0.9", "unix", "fe80::1%eth0")]
    assert found == ["10.0.0.9", "10.0.0.9", "unix", "fe80::/64"]


def test_a_change_whose_path_ends_like_a_rehearsal_is_recorded() -> None:
    site = Site()
    for path in ("taskInstances/load/dry_run", "taskInstances/load/-1/dry_run", "taskGroupInstances/all.one/dry_run"):
        site.ask("PATCH", f"/api/v2/dags/etl/dagRuns/run1/{path}")
    assert site.rows == []
    site.ask("DELETE", "/api/v2/dags/etl/dagRuns/run1/taskInstances/load/xcomEntries/key/dry_run")
    assert len(site.rows) == 1


def test_an_xcom_has_a_row_only_if_it_is_refused_and_so_has_a_secret_that_was_allowed_before() -> None:
    site = Site(source=AuditSource.TASK, subject=INSTANCE)
    for method in ("GET", "POST"):
        assert site.ask(method, "/execution/xcoms/dag/run/task/key") == 200
    assert site.ask("GET", "/execution/connections/db") == 200
    assert [one["outcome"] for one in site.rows] == ["done"]
    site.status = 403
    for method, path in (("GET", "xcoms/dag/run/task/key"), ("POST", "xcoms/a/b/c/d"), ("GET", "connections/db")):
        assert site.ask(method, f"/execution/{path}") == 403
    assert [one["outcome"] for one in site.rows] == ["done", "refused", "refused", "refused"]
