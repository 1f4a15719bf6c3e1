"""A program: the routes of Airflow's applications, and what requests to them leave in the audit log, as JSON."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

from airflow_site import make_site

POOL = {"name": "p1", "slots": 1, "description": "secret words", "include_deferred": False}
# A login that failed more often than an address may.
GUESSES = 12


def walk(routes: list[Any], prefix: str) -> Iterator[tuple[str, str]]:
    """Yield method and path of each route below a prefix, those of mounted applications included."""
    for route in routes:
        path = prefix + getattr(route, "path", "")
        inner = getattr(route, "app", None)
        flask = getattr(inner, "wsgi_app", None) or getattr(inner, "app", None)
        if flask is not None and hasattr(flask, "url_map"):
            for rule in flask.url_map.iter_rules():
                for method in rule.methods - {"HEAD", "OPTIONS"}:
                    yield method, prefix + path.removeprefix(prefix).rstrip("/") + rule.rule
        elif getattr(route, "routes", None) and not getattr(route, "methods", None):
            yield from walk(list(route.routes), path)
        else:
            for method in (getattr(route, "methods", None) or {"GET"}) - {"HEAD", "OPTIONS"}:
                yield method, path


def visit(client: Any) -> list[int]:  # noqa: ANN401 - Starlette's test client
    """Change things as the admin, as a stranger, and with wrong passwords; return the statuses of the answers."""
    login = {"username": "admin", "password": "right"}
    headers = {"Authorization": f"Bearer {client.post('/auth/token', json=login).json()['access_token']}"}
    answers = [
        client.post("/api/v2/pools", json=POOL, headers=headers),
        client.patch("/api/v2/pools/p1", json={**POOL, "slots": 2}, headers=headers),
        client.delete("/api/v2/pools/p1", headers=headers),
        client.delete("/api/v2/pools/p1"),
    ]
    for password in ("wrong", "right"):
        page = client.get("/auth/login/").text
        token = page.partition('name="csrf_token"')[2].partition('value="')[2].partition('"')[0]
        form = {"username": "admin", "password": password, "csrf_token": token}
        answers.append(client.post("/auth/login/", data=form, follow_redirects=False))
    answers += [client.post("/auth/token", json={"username": "eve", "password": "guess"}) for _ in range(GUESSES)]
    return [one.status_code for one in answers]


def run_task(client: Any, models: Any) -> list[int]:  # noqa: ANN401 - as above, and those of the fast path
    """Read and change things as a task, and with a token that is not valid; return the statuses of the answers."""
    headers = {"Authorization": f"Bearer {models.sign(str(uuid.uuid4()))}", "airflow-api-version": models.version}
    answers = [client.get("/execution/connections/crm", headers=headers) for _ in range(2)]
    answers.append(client.put("/execution/variables/v", headers=headers, json={"val": "secret words"}))
    answers.append(client.get("/execution/connections/crm", headers={"Authorization": "Bearer x"}))
    return [one.status_code for one in answers]


def main() -> None:
    """Print the routes, the statuses, and the rows of the audit log."""
    connection = make_site("admin", password="right")
    from airflow.api_fastapi.app import create_app  # noqa: PLC0415
    from airflow.api_fastapi.execution_api.routes import execution_api_router  # noqa: PLC0415
    from airflow.models import Connection  # noqa: PLC0415
    from starlette.testclient import TestClient  # noqa: PLC0415

    from airfleet_provider.compat.calls import execution_api, metadata_db  # noqa: PLC0415
    from airfleet_provider.contract import audit_store  # noqa: PLC0415
    from airfleet_provider.execution_api import command  # noqa: PLC0415

    core, tasks = create_app(apps="core"), create_app(apps="execution")
    with metadata_db.open_session() as session:
        session.add(Connection(conn_id="crm", conn_type="http", password="secret words"))
    statuses = visit(TestClient(core))
    with TestClient(command.wrap(tasks)) as client:
        statuses += run_task(client, execution_api.Models())
    with connection.cursor() as cursor:
        cursor.execute(audit_store.find_all(), {"until": None})
        rows = [json.loads(row[3]) for row in cursor.fetchall()]
        cursor.execute("SELECT count(*) FROM airfleet.audit_intent")
        (intents,) = cursor.fetchone()
    # The application of the execution API makes its routes at its first request, from this router.
    routes = {
        "core": sorted(set(walk(list(core.routes), ""))),
        "execution": sorted(set(walk(list(execution_api_router.routes), "/execution"))),
    }
    print(json.dumps({"routes": routes, "statuses": statuses, "rows": rows, "intents": intents}))


if __name__ == "__main__":
    main()
