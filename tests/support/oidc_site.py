"""A program: Airflow with users of a real OpenID provider, what its sign-in answers, and what it leaves, as JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from airflow_site import make_site
from directory_site import CONFIG
from oidc_node import CLIENT, SECRET, OidcNode

BASE = "http://testserver"


# Airflow is imported after its settings are made.
# ruff: noqa: ANN401, PLC0415, PLR0915


def main() -> None:
    folder = Path(sys.argv[1])
    node = OidcNode(folder / "oidc", f"{BASE}/auth/oauth-authorized/oidc", lean=sys.argv[2] == "lean")
    try:
        print(json.dumps(visit(folder, node)))
    finally:
        node.stop()


def visit(folder: Path, node: OidcNode) -> dict[str, Any]:
    from airfleet_provider.contract.directory import Directory, OidcSource

    source = OidcSource(
        node.issuer, CLIENT, client_secret=SECRET, authority=node.authority, label="Log in with Example"
    )
    directory = Directory(source, {"analysts": ("Viewer",)}, frozenset())
    (folder / "directory.json").write_text(directory.to_text())
    (folder / "webserver_config.py").write_text(CONFIG)
    os.environ["AIRFLEET_DIRECTORY"] = str(folder / "directory.json")
    os.environ["AIRFLOW__FAB__CONFIG_FILE"] = str(folder / "webserver_config.py")
    connection = make_site("admin", password="local")
    from airflow.api_fastapi.app import create_app
    from starlette.testclient import TestClient

    from airfleet_provider.contract import audit_store

    core = create_app(apps="core")
    ann = {"preferred_username": "Ann", "given_name": "Ann", "family_name": "Person", "email": "ann@example.com"}
    node.write_users(
        {
            "1": {**ann, "groups": ["analysts", "others"]},
            "2": {**ann, "groups": ["analysts"]},  # calls herself Ann, too
            "3": {"preferred_username": "carol", "groups": ["others"]},
            "4": {"preferred_username": "admin", "groups": ["analysts"]},
        }
    )
    said: dict[str, Any] = {}

    def sign_in(subject: str) -> Any:
        """Return a browser after a login at the provider."""
        browser = TestClient(core, base_url=BASE)
        away = browser.get("/auth/login/oidc", follow_redirects=False).headers["location"]
        with node.open_browser() as other:
            back = node.log_in(other, away, subject)
        said.setdefault("back", back.partition("?")[0])
        browser.get(back, follow_redirects=False)
        browser.get("/auth/login/", follow_redirects=False)
        return browser

    def ask(browser: Any) -> int:
        return int(browser.get("/api/v2/dags").status_code)

    page = TestClient(core, base_url=BASE).get("/auth/login/?next=http%3A%2F%2Ftestserver%2Fdags").text
    said["page"] = ["Log in with Example" in page, 'name="password"' in page, "/auth/login/oidc" in page]
    linked = TestClient(core, base_url=BASE, raise_server_exceptions=False)
    said["a link of somebody else"] = linked.get("/auth/login/?provider=other&_anchor=x&_method=PUT").status_code
    anns = sign_in("1")
    said["ann asks"] = [ask(anns), anns.get("/api/v2/pools").status_code]
    for name, subject in (("another ann", "2"), ("carol, of no group", "3"), ("admin of the provider", "4")):
        said[f"{name} asks"] = ask(sign_in(subject))
    # A code of one browser does not log another one in.
    thief = TestClient(core, base_url=BASE)
    away = anns.get("/auth/logout", follow_redirects=False) and thief.get("/auth/login/oidc", follow_redirects=False)
    with node.open_browser() as other:
        back = node.log_in(other, away.headers["location"], "1")
    victim = TestClient(core, base_url=BASE)
    victim.get(back, follow_redirects=False)
    victim.get("/auth/login/", follow_redirects=False)
    said["another browser with ann's code asks"] = ask(victim)

    anns = sign_in("1")
    said["ann asks before the hour"] = ask(anns)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE airfleet.directory_user SET confirmed_at = clock_timestamp() - make_interval(secs => 3700)"
        )
    from airflow.api_fastapi.app import get_auth_manager

    from airfleet_provider.access.known_users import KnownUsers

    get_auth_manager().known_users = KnownUsers(directory, get_auth_manager().known_users._read)
    get_auth_manager().security_manager.known = get_auth_manager().known_users
    said["ann asks after an hour"] = ask(anns)
    said["ann has a new token without the provider"] = "_token" in str(
        anns.get("/auth/login/", follow_redirects=False).headers.get("set-cookie", "")
    )
    said["ann asks after another login"] = ask(sign_in("1"))

    node.stop()
    broken = TestClient(core, base_url=BASE)
    said["login while it is down"] = broken.get("/auth/login/oidc", follow_redirects=False).status_code
    page = broken.get("/auth/login/").text
    token = page.partition('name="csrf_token"')[2].partition('value="')[2].partition('"')[0]
    form = {"username": "admin", "password": "local", "csrf_token": token}
    broken.post("/auth/login/", data=form, follow_redirects=False)
    broken.get("/auth/login/", follow_redirects=False)
    said["admin while it is down asks"] = ask(broken)
    node.start()
    with connection.cursor() as cursor:
        cursor.execute(audit_store.find_all(), {"until": None})
        said["audit"] = [json.loads(row[3]) for row in cursor.fetchall()]
        cursor.execute("SELECT count(*) FROM airfleet.login_failure WHERE name = id::text")
        said["returns in vain"] = cursor.fetchone()[0]
        cursor.execute("SELECT count(*) FROM session WHERE position(%s in encode(data, 'escape')) > 0", ("id_token",))
        said["tokens of the provider in the database"] = cursor.fetchone()[0]
    return said


if __name__ == "__main__":
    main()
