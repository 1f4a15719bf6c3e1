"""Who may log in: the administrator's password, and tokens that end with the password they were made for."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import hmac
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
from airflow.configuration import conf
from airflow.exceptions import AirflowConfigException
from airflow.providers.fab.auth_manager import fab_auth_manager
from airflow.providers.fab.www import app as fab_app
from flask import Flask
from flask_login import LoginManager, current_user
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from airfleet_provider.access import command
from airfleet_provider.access.dag_rights import KEPT_S, KnownRights
from airfleet_provider.access.manager import FabAuthManager, derive_cookie_key
from airfleet_provider.access.plugin_list import PluginList
from airfleet_provider.compat.calls import metadata_db, users
from airfleet_provider.contract import access_roles, job_schema
from airfleet_provider.contract.access_rules import AccessRules, DagRight, RoleRules
from airfleet_provider.contract.access_store import DagRights

WORKER_KEY = "that every worker host has"


class Users:
    """Users in memory, and which of their sessions were ended."""

    def __init__(self) -> None:
        self.passwords: dict[str, str] = {}
        self.ended: list[str] = []

    def exists(self, username: str) -> bool:
        return username in self.passwords

    def has_password(self, username: str, password: str) -> bool:
        return self.passwords[username] == password

    def create_admin(self, username: str, password: str) -> str:
        self.passwords[username] = password
        return users.make_hash(password)

    def set_password(self, username: str, password: str) -> None:
        self.passwords[username] = password
        self.ended.append(username)


class Cursor:
    """The one row that the command keeps."""

    def __init__(self) -> None:
        self.row: tuple[str] | None = None

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def execute(self, statement: str, values: tuple[str, ...]) -> None:
        assert values[0] == job_schema.ADMIN_PASSWORD
        if statement.startswith("INSERT"):
            self.row = (values[1],)

    def fetchone(self) -> tuple[str] | None:
        return self.row


class Place:
    """A platform whose admin job may be run with a file."""

    def __init__(self, folder: Path) -> None:
        self.users, self.cursor, self.file = Users(), Cursor(), folder / "password"

    def run(self, password: str) -> None:
        self.file.write_text(password)
        arguments = argparse.Namespace(username="admin", password_file=str(self.file), no_directory=False)
        command.run_command(arguments)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place(tmp_path)

    @contextlib.contextmanager
    def open_users() -> Iterator[Users]:
        yield made.users

    monkeypatch.setattr(users, "open_users", open_users)
    monkeypatch.setattr(metadata_db, "connect", lambda: SimpleNamespace(cursor=lambda: made.cursor, close=lambda: None))
    return made


def test_another_password_in_the_file_is_the_one_that_counts(place: Place) -> None:
    place.run("first")
    place.run("second")
    assert place.users.passwords == {"admin": "second"}
    assert place.users.ended == ["admin"]


def test_a_password_chosen_in_the_ui_stays_until_the_file_changes(place: Place) -> None:
    place.run("first")
    place.users.passwords["admin"] = "my own"
    place.run("first")
    assert place.users.passwords == {"admin": "my own"}
    place.run("second")
    assert place.users.passwords == {"admin": "second"}


def test_a_platform_of_before_gets_the_password_that_its_file_has(place: Place) -> None:
    place.users.passwords["admin"] = "the first one, which an earlier rotation left valid"
    place.run("rotated")
    assert place.users.passwords == {"admin": "rotated"}


def test_the_password_is_kept_as_a_slow_hash_only(place: Place) -> None:
    place.run("first")
    assert place.cursor.row
    assert "first" not in place.cursor.row[0]
    assert place.cursor.row[0].startswith("scrypt:")


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> tuple[FabAuthManager, SimpleNamespace]:
    """An auth manager whose database holds one user, and that user."""
    user = SimpleNamespace(id=7, password="hash-one")
    made = FabAuthManager.__new__(FabAuthManager)
    made.cache = {}

    def read(self: FabAuthManager, token: dict[str, Any]) -> SimpleNamespace:
        kept: SimpleNamespace = self.cache.setdefault(int(token["sub"]), SimpleNamespace(**vars(user)))
        return kept

    monkeypatch.setattr(fab_auth_manager.FabAuthManager, "deserialize_user", read)
    return made, user


def test_a_token_ends_with_the_password_it_was_made_for(manager: tuple[FabAuthManager, SimpleNamespace]) -> None:
    auth, user = manager
    token = auth.serialize_user(user)
    assert auth.deserialize_user(token).id == 7
    user.password = "hash-two"
    fresh = auth.serialize_user(user)
    assert auth.deserialize_user(fresh).id == 7, "a user that is kept too long may not shut out a new token"
    with pytest.raises(ValueError, match="password was changed"):
        auth.deserialize_user(token)


def test_a_token_of_stock_airflow_is_refused(manager: tuple[FabAuthManager, SimpleNamespace]) -> None:
    auth, _ = manager
    with pytest.raises(ValueError, match="password was changed"):
        auth.deserialize_user({"sub": "7"})


def test_a_token_tells_nothing_of_the_hash(manager: tuple[FabAuthManager, SimpleNamespace]) -> None:
    auth, user = manager
    assert "hash-one" not in str(auth.serialize_user(user))


def create_app(enable_plugins: bool) -> Flask:
    """As FAB makes its applications, without its tables: it says who is signed in."""
    flask_app = Flask("fab")
    flask_app.secret_key = conf.get("api", "SECRET_KEY")
    logins = LoginManager(flask_app)
    logins.user_loader(lambda name: SimpleNamespace(is_authenticated=True, is_active=True, get_id=lambda: name))
    flask_app.add_url_rule("/", "index", lambda: getattr(current_user, "get_id", lambda: None)() or "nobody")
    return flask_app


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """The sign-in page of a web host."""
    monkeypatch.setenv("AIRFLOW__API__SECRET_KEY", WORKER_KEY)
    monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "of web and scheduler hosts")
    for module in (fab_app, fab_auth_manager):
        monkeypatch.setattr(module, "create_app", create_app)
    return TestClient(FabAuthManager.__new__(FabAuthManager).get_fastapi_app())


def sign_cookie(key: str, user: str = "1") -> str:
    return f"{user}|{hmac.new(key.encode(), user.encode(), hashlib.sha512).hexdigest()}"


def test_a_task_signs_nobody_in(page: TestClient) -> None:
    """Every task can read [api] secret_key on its host; Flask's library for logins takes a signed id for a login."""
    assert page.get("/").text == "nobody"
    page.cookies.set("remember_token", sign_cookie(WORKER_KEY))
    assert page.get("/").text == "nobody"
    page.cookies.set("remember_token", sign_cookie(derive_cookie_key("of web and scheduler hosts")))
    assert page.get("/").text == "1", "the key of the web hosts is the one that counts"


def test_a_task_signs_nobody_in_at_the_pages_of_plugins_either(page: TestClient) -> None:
    plugins = fab_app.create_app(enable_plugins=True).test_client()
    for key, name in ((WORKER_KEY, "nobody"), (derive_cookie_key("of web and scheduler hosts"), "1")):
        plugins.set_cookie("remember_token", sign_cookie(key))
        assert plugins.get("/").text == name


def test_without_a_key_of_its_own_the_page_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "")
    with pytest.raises(AirflowConfigException, match="jwt_secret"):
        FabAuthManager.__new__(FabAuthManager).get_fastapi_app()


def test_the_user_manager_of_fab_has_what_is_asked_of_it() -> None:
    from airflow.providers.fab.auth_manager.security_manager.override import (  # noqa: PLC0415
        FabAirflowSecurityManagerOverride as Manager,
    )

    methods = ("find_user", "find_role", "add_user", "reset_password", "create_permission", "get_permission")
    for name in (*methods, "reset_user_sessions"):
        assert callable(getattr(Manager, name)), name
    held = {*Manager.VIEWER_PERMISSIONS, *Manager.USER_PERMISSIONS}
    assert held >= access_roles.READING | access_roles.EDITING, (
        "a role of fleet.yaml may do no more than Airflow's User"
    )
    parent = fab_auth_manager.FabAuthManager
    assert list(inspect.signature(parent._is_authorized_dag).parameters) == ["self", "method", "details", "user"]
    assert list(inspect.signature(parent._is_authorized_list_dags).parameters) == ["self", "user"]


class Clock:
    """The time, and how often the database was asked."""

    def __init__(self) -> None:
        self.now, self.asked = 0.0, 0
        self.answer: DagRights | Exception = DagRights()

    def read(self) -> DagRights:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_a_new_dag_and_a_lost_role_are_known_after_some_seconds_and_requests_do_not_ask_each() -> None:
    clock = Clock()
    rules = AccessRules({"team-a": RoleRules(edit=("tag:a",))})
    clock.answer = DagRights(rules, {"one": frozenset({"a"}), "two": frozenset()}, {7: frozenset({"team-a"})})
    known = KnownRights(clock.read, lambda: clock.now)
    assert [known.allows(7, dag, DagRight.EDIT) for dag in ("one", "two", "gone")] == [True, False, False]
    assert known.list_dags(7, DagRight.READ) == {"one"}
    assert [known.allows(user, "one", DagRight.READ) for user in (8, None)] == [False, False]
    assert (known.has_rule(7), known.has_rule(8), clock.asked) == (True, False, 1)
    clock.answer = DagRights(rules, {"one": frozenset(), "two": frozenset({"a"})}, {7: frozenset({"team-a"})})
    clock.now = KEPT_S
    assert (known.allows(7, "one", DagRight.READ), known.allows(7, "two", DagRight.READ)) == (False, True)


def test_without_an_answer_nothing_is_granted_and_the_next_request_does_not_wait_for_another() -> None:
    clock = Clock()
    clock.answer = OSError("away")
    known = KnownRights(clock.read, lambda: clock.now)
    for _ in range(3):
        with pytest.raises(OSError, match="away"):
            known.allows(7, "one", DagRight.READ)
    assert clock.asked == 1
    clock.now, clock.answer = KEPT_S, DagRights()
    assert not known.allows(7, "one", DagRight.READ)


@pytest.mark.parametrize(
    ("method", "granted"), [("GET", True), ("POST", False), ("PUT", False), ("DELETE", False), ("MENU", False)]
)
def test_a_rule_counts_where_airflow_grants_nothing(
    monkeypatch: pytest.MonkeyPatch, method: str, granted: bool
) -> None:
    parent = fab_auth_manager.FabAuthManager
    monkeypatch.setattr(parent, "_is_authorized_dag", lambda *_, **__: False)
    rights = DagRights(
        AccessRules({"r": RoleRules(read=("one",))}), {"one": frozenset(), "two": frozenset()}, {7: frozenset({"r"})}
    )
    monkeypatch.setattr(FabAuthManager, "known_rights", KnownRights(lambda: rights))
    manager = FabAuthManager.__new__(FabAuthManager)
    user = SimpleNamespace(id=7)
    assert manager._is_authorized_dag(method, SimpleNamespace(id="one"), user) is granted
    assert not manager._is_authorized_dag(method, SimpleNamespace(id="two"), user)
    assert not manager._is_authorized_dag(method, None, user)


@pytest.mark.parametrize(
    ("path", "view", "reads_dags", "allowed"),
    [
        ("/api/v2/plugins", AccessView.PLUGINS, True, True),
        ("/below/api/v2/plugins", AccessView.PLUGINS, True, True),
        ("/api/v2/plugins", AccessView.PLUGINS, False, False),
        ("/api/v2/plugins/importErrors", AccessView.PLUGINS, True, False),
        ("/api/v2/plugins", AccessView.PROVIDERS, True, False),
    ],
)
def test_who_may_read_a_dag_may_read_which_plugins_there_are(
    monkeypatch: pytest.MonkeyPatch, path: str, view: AccessView, reads_dags: bool, allowed: bool
) -> None:
    """Else Airflow's UI would show the Fleet pages to the roles Op and Admin alone."""
    parent = fab_auth_manager.FabAuthManager
    monkeypatch.setattr(parent, "is_authorized_view", lambda *_, **__: False)
    monkeypatch.setattr(parent, "is_authorized_dag", lambda *_, **__: reads_dags)
    manager = FabAuthManager.__new__(FabAuthManager)

    async def answer(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        # Airflow asks in a thread.
        found = await run_in_threadpool(manager.is_authorized_view, access_view=view, user=SimpleNamespace())
        await PlainTextResponse(str(found))(scope, receive, send)

    assert TestClient(PluginList(answer)).get(path).text == str(allowed)
