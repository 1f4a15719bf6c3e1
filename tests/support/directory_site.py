"""A program: Airflow with users of a real directory, what its api-server answers them, and what they leave, as JSON."""

from __future__ import annotations

import argparse
import functools
import json
import os
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from airflow_site import make_site
from deadline import COMMAND_S, wait_until
from slapd_node import GROUPS, SlapdNode

# A login that failed more often than an address may.
GUESSES = 12
# More logins than may ask the directory and wait for it.
PEOPLE_AT_ONCE = 11
# The only line of the `webserver_config.py` that airfleet writes for web hosts.
CONFIG = "from airfleet_provider.access import flask_settings\n\nglobals().update(flask_settings.read_settings())\n"


AGE = """
UPDATE airfleet.directory_user
SET confirmed_at = clock_timestamp() - make_interval(secs => %(seconds)s),
    asked_at = clock_timestamp() - make_interval(secs => %(seconds)s)
"""
# Airflow is imported after its settings are made.
# ruff: noqa: ANN401, PLC0415, PLR0915


def configure(folder: Path, node: SlapdNode) -> None:
    """Point this process at the directory, as the control side does it for an api-server."""
    from airfleet_provider.contract.directory import Directory

    groups = {"analysts": ("Viewer",), f"CN=operators, {GROUPS}": ("Op",)}
    directory = Directory(node.describe(), groups, frozenset({"zoe"}))
    (folder / "directory.json").write_text(directory.to_text())
    (folder / "webserver_config.py").write_text(CONFIG)
    os.environ["AIRFLEET_DIRECTORY"] = str(folder / "directory.json")
    os.environ["AIRFLOW__FAB__CONFIG_FILE"] = str(folder / "webserver_config.py")


class Visitor:
    """Logs in and asks, as somebody with a browser or a program does."""

    def __init__(self, core: Any) -> None:
        from starlette.testclient import TestClient

        self._make: Callable[[], Any] = functools.partial(TestClient, core)
        self._core = self._make()

    def move(self, address: str) -> Visitor:
        """Return a visitor from another address, to which the limits on failed logins do not add this one's."""
        from starlette.testclient import TestClient

        other = object.__new__(Visitor)
        other._make = functools.partial(TestClient, self._core.app, client=(address, 50_000))
        other._core = other._make()
        return other

    def send_login(self, name: str, password: str) -> Any:
        return self._core.post("/auth/token", json={"username": name, "password": password})

    def log_in(self, name: str, password: str) -> tuple[int, str]:
        answer = self.send_login(name, password)
        return answer.status_code, answer.json().get("access_token", "") if answer.status_code == 201 else ""

    def ask(self, token: str, path: str = "/api/v2/dags") -> int:
        return int(self._core.get(path, headers={"Authorization": f"Bearer {token}"}).status_code)

    def fill_form(self, name: str, password: str, wanted: str = "browser") -> Any:
        """Return a browser that has sent the form of the sign-in page, or status and text of the answer."""
        browser = self._make()
        page = browser.get("/auth/login/").text
        token = page.partition('name="csrf_token"')[2].partition('value="')[2].partition('"')[0]
        form = {"username": name, "password": password, "csrf_token": token}
        answer = browser.post("/auth/login/", data=form, follow_redirects=False)
        return browser if wanted == "browser" else [answer.status_code, answer.text]


def main() -> None:
    folder = Path(sys.argv[1])
    node = SlapdNode(folder / "slapd")
    try:
        print(json.dumps(visit(folder, node)))
    finally:
        node.stop()


def visit(folder: Path, node: SlapdNode) -> dict[str, Any]:
    for name in ("ann", "carol", "dave", "admin", "bob", "zoe"):
        node.add_user(name, f"of {name}")
    node.add_group("analysts", "ann", "dave", "bob", "zoe", "admin")
    node.add_group("operators", "dave", "ann")
    configure(folder, node)
    connection = make_site("admin", "bob", password="local")
    from airflow.api_fastapi.app import create_app

    from airfleet_provider.access import command, directory_file, directory_sweep
    from airfleet_provider.access.directory_store import DirectoryStore
    from airfleet_provider.access.ldap_client import LdapClient
    from airfleet_provider.compat.calls import users
    from airfleet_provider.contract import audit_store

    directory = directory_file.read_directory()
    assert directory
    store, client = DirectoryStore(directory), LdapClient(directory.source)  # type: ignore[arg-type]

    def age(seconds: int) -> None:
        """Let it be so long ago that the directory confirmed its users."""
        with connection.cursor() as cursor:
            cursor.execute(AGE, {"seconds": seconds})

    visitor = Visitor(create_app(apps="core"))
    said: dict[str, Any] = {}
    for name, password in (
        ("ann", "of ann"),
        ("ann", "of dave"),
        ("carol", "of carol"),
        ("admin", "local"),
        ("admin", "of admin"),
        ("bob", "local"),
        ("bob", "of bob"),
        ("zoe", "of zoe"),
    ):
        said[f"{name} by {password!r}"] = visitor.log_in(name, password)[0]
    _, anns = visitor.log_in("ANN", "of ann")
    _, daves = visitor.log_in("dave", "of dave")
    browser = visitor.fill_form("ann", "of ann")
    said["ann asks"] = [visitor.ask(anns), visitor.ask(anns, "/api/v2/pools")]
    said["ann in a browser"] = browser.get("/auth/login/", follow_redirects=False).headers.get("location", "")
    said["ann in a browser asks"] = browser.get("/api/v2/dags").status_code
    with users.open_users() as found:
        found.set_password("ann", "set here")
    said["ann by a password that was set here"] = visitor.log_in("ann", "set here")[0]
    _, anns = visitor.log_in("ann", "of ann")

    age(600)
    node.leave_group("operators", "dave")
    node.remove_user("ann")
    said["asked again"] = [directory_sweep.sweep(store, client), directory_sweep.sweep(store, client)]
    said["ann, who left, asks"] = visitor.ask(anns)
    said["ann, who left, in a browser asks"] = browser.get("/api/v2/dags").status_code
    said["ann, who left, gets a new token in a browser"] = "_token" in str(
        browser.get("/auth/login/", follow_redirects=False).headers.get("set-cookie", "")
    )
    said["dave, who left a group, asks"] = visitor.ask(daves)
    node.add_user("ann", "of another ann")
    said["another ann"] = visitor.log_in("ann", "of another ann")[0]

    age(600)
    node.stop()
    said["while it is down"] = {
        "admin": visitor.log_in("admin", "local")[0],
        "dave": visitor.log_in("dave", "of dave")[0],
        "dave's session": visitor.ask(daves),
    }
    said["the form while it is down"] = visitor.move("192.0.2.1").fill_form("dave", "of dave", "answer")
    said["while it hangs"] = ask_one_that_hangs(visitor, daves)
    age(3700)
    from airfleet_provider.access import known_users

    known_users.KEPT_S = 0.0
    from airflow.api_fastapi.app import get_auth_manager

    get_auth_manager().known_users = known_users.KnownUsers(directory, store.read_known)
    said["down for long, dave's session"] = visitor.ask(daves)
    node.start()
    status, daves = visitor.log_in("dave", "of dave")
    said["dave after it"] = [status, visitor.ask(daves)]
    said["guesses"] = [visitor.log_in("eve", "guess")[0] for _ in range(GUESSES)]

    # The next apply of a fleet.yaml without the section `access`, and an api-server that knows of no directory.
    (folder / "password").write_text("local")
    arguments = argparse.Namespace(username="admin", password_file=str(folder / "password"), no_directory=True)
    for _ in range(2):
        command.run_command(arguments)
    manager = get_auth_manager()
    manager.known_users = None
    manager.cache.clear()
    said["without access, dave's session"] = visitor.ask(daves)
    said["without access, admin"] = visitor.move("192.0.2.3").log_in("admin", "local")[0]

    with connection.cursor() as cursor:
        cursor.execute(audit_store.find_all(), {"until": None})
        said["audit"] = [json.loads(row[3]) for row in cursor.fetchall()]
        cursor.execute(
            "SELECT u.username, u.active, u.email, array_remove(array_agg(r.name ORDER BY r.name), NULL) FROM ab_user u"
            " LEFT JOIN ab_user_role h ON h.user_id = u.id LEFT JOIN ab_role r ON r.id = h.role_id GROUP BY u.id"
        )
        said["users"] = {name: [active, email, roles] for name, active, email, roles in cursor.fetchall()}
    return said


def ask_one_that_hangs(visitor: Visitor, token: str) -> dict[str, Any]:
    """Let more people log in than may wait for a directory that accepts connections and says nothing."""
    from dataclasses import replace

    from airflow.providers.fab.www.utils import get_fab_auth_manager

    from airfleet_provider.access import ldap_client, source_gate

    # Whoever asks waits until the directory ends the connections, however slow this machine is.
    kept = ldap_client.CONNECT_S, ldap_client.ANSWER_S
    ldap_client.CONNECT_S = ldap_client.ANSWER_S = int(COMMAND_S)
    manager = get_fab_auth_manager().security_manager
    directory = manager.directory
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"ldaps://localhost:{server.getsockname()[1]}"
        manager.directory = replace(directory, source=replace(directory.source, urls=(url,)))
        visitors = [visitor.move(f"198.51.100.{number}") for number in range(PEOPLE_AT_ONCE)]
        with ThreadPoolExecutor(PEOPLE_AT_ONCE) as people:
            logins = [people.submit(one.send_login, "dave", "of dave") for one in visitors]
            held = [server.accept()[0] for _ in range(source_gate.AT_ONCE)]
            refusals = PEOPLE_AT_ONCE - source_gate.AT_ONCE
            wait_until(lambda: sum(one.done() for one in logins) == refusals, "the refusals")
            refused = [one for one in logins if one.done()]
            said = {
                "refused": {(one.result().status_code, one.result().text) for one in refused},
                "admin": visitor.move("192.0.2.2").log_in("admin", "local")[0],
                "dave's session": visitor.ask(token),
            }
            for one in held:
                one.close()
            said["held"] = {(one.result().status_code, one.result().text) for one in logins if one not in refused}
    manager.directory = directory
    ldap_client.CONNECT_S, ldap_client.ANSWER_S = kept
    return {name: sorted(one) if isinstance(one, set) else one for name, one in said.items()}


if __name__ == "__main__":
    main()
