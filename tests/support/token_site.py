"""A program: service accounts at Airflow's own API, and what an attacker does with tokens; prints answers as JSON."""

from __future__ import annotations

import json
import secrets
from typing import Any

from airflow_site import make_site
from deadline import wait_until

POOL = {"name": "p1", "slots": 1, "description": "", "include_deferred": False}
POOLS = "/api/v2/pools"
# A wrong token is sent more often than an address may.
GUESSES = 12
DELETED_IN_THE_UI = (
    "DELETE FROM ab_user_role WHERE user_id = (SELECT id FROM ab_user WHERE username = 'gone')",
    "DELETE FROM ab_user WHERE username = 'gone'",
)


def main() -> None:  # noqa: PLR0915 - one story
    """Print the statuses of the answers by name, what was refused to the command, and the rows of the audit log."""
    connection = make_site("admin", password="right")
    from airflow.api_fastapi.app import create_app  # noqa: PLC0415
    from starlette.testclient import TestClient  # noqa: PLC0415

    from airfleet_provider.access import service_accounts  # noqa: PLC0415
    from airfleet_provider.compat.calls import fab_access  # noqa: PLC0415
    from airfleet_provider.contract import access_store, access_token, audit_store, token_store  # noqa: PLC0415
    from airfleet_provider.contract.access_plan import AccessError, DesiredAccess, make_plan  # noqa: PLC0415

    answers: dict[str, Any] = {}
    with fab_access.open_access() as access, TestClient(create_app(apps="core")) as client:

        def create(name: str, *roles: str, seconds: int = 3600) -> str:
            token_id = secrets.token_hex(6)
            token = access_token.make_token(token_id, secrets.token_urlsafe(32))
            hashed = access_token.make_hash(token)
            service_accounts.create(access, name, frozenset(roles), token_id=token_id, hashed=hashed, seconds=seconds)
            return token

        def ask(token: str, method: str = "GET", path: str = POOLS, **more: Any) -> int:  # noqa: ANN401 - of httpx
            client.cookies.clear()
            return client.request(method, path, headers={"Authorization": f"Bearer {token}"}, **more).status_code

        def fails(work: Any) -> str:  # noqa: ANN401 - a function without arguments
            try:
                work()
            except AccessError as error:
                return str(error)
            return ""

        viewer, op = create("reader", "Viewer"), create("ci", "Op")
        answers["viewer reads"] = [ask(viewer) for _ in range(3)]
        answers["viewer changes"] = ask(viewer, "POST", json=POOL)
        answers["op changes"] = ask(op, "POST", json=POOL)
        answers["op reads users"] = ask(op, path="/auth/fab/v1/users")
        made = client.post("/ui/auth/token", json={"token_type": "api"}, headers={"Authorization": f"Bearer {op}"})
        answers["token of airflow's"] = (made.status_code, ask(made.json().get("access_token", "")))
        client.cookies.set("_token", made.json().get("access_token", ""))
        answers["the same as a cookie"] = client.get(POOLS).status_code
        client.cookies.clear()
        logins = [{"username": "ci", "password": one} for one in ("!", "x", op)]
        answers["logins"] = [client.post("/auth/token", json=one).status_code for one in logins]
        (kept,) = [one for one in token_store.read_tokens(access.query) if one.name == "ci"]
        answers["kept"] = [op in str(kept), kept.hash in (op, op.encode().hex())]
        wrong = [kept.hash, op[:-1], f"{op}x", op.swapcase(), f"aft_{kept.id}_{'A' * 43}", "aft_"]
        answers["wrong"] = [ask(one) for one in wrong]
        answers["refused"] = [
            fails(lambda: create("ci", "Viewer")),
            fails(lambda: create("admin", "Viewer")),
            fails(lambda: create("new", "Nobody")),
            fails(lambda: service_accounts.revoke(access, "nobody")),
        ]
        present = access_store.read_present(access.query)
        answers["pruned"] = [str(one) for one in make_plan(DesiredAccess(prune=True), present).changes]
        short = create("short", "Viewer", seconds=1)
        wait_until(lambda: ask(short) == 401, "the token ends")
        answers["guesses"] = [ask(f"aft_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}") for _ in range(GUESSES)]
        answers["while guessed"] = ask(op)
        service_accounts.revoke(access, "ci")
        wait_until(lambda: ask(op) == 401, "the token is revoked")
        again = create("ci", "Viewer")
        wait_until(lambda: ask(again) == 200, "the new token is known")
        answers["old and new"] = [ask(op), ask(again), ask(again, "POST", json={**POOL, "name": "p2"})]
        answers["used"] = [one.used_at is not None for one in token_store.read_tokens(access.query)]
        create("gone", "Viewer")
        with access.hold():
            for statement in DELETED_IN_THE_UI:
                access.execute(statement, {})
        service_accounts.revoke(access, "gone")
        answers["gone"] = [
            one.state for one in token_store.read_tokens(access.query, also_old=True) if one.name == "gone"
        ]
    with connection.cursor() as cursor:
        cursor.execute(audit_store.find_all(), {"until": None})
        answers["rows"] = [json.loads(row[3]) for row in cursor.fetchall()]
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
