"""A program: every route of an api-server and of an execution API, with its methods, as JSON in the last line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any


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


def main() -> None:
    """Print the routes of both applications."""
    os.environ.setdefault("AIRFLOW__CORE__AUTH_MANAGER", "airfleet_provider.access.manager.FabAuthManager")
    from airflow.utils import db  # noqa: PLC0415

    db.initdb()
    from airflow.api_fastapi.app import create_app  # noqa: PLC0415

    # The application of the execution API makes its routes at its first request, from this router.
    from airflow.api_fastapi.execution_api.routes import execution_api_router  # noqa: PLC0415

    core, execution = list(create_app(apps="core").routes), list(execution_api_router.routes)
    print(json.dumps({"core": sorted(set(walk(core, ""))), "execution": sorted(set(walk(execution, "/execution")))}))


if __name__ == "__main__":
    main()
