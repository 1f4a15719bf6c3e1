"""FAB's applications sign their cookies with a key that no worker has.

Airflow lets them sign with [api] secret_key. Every worker host has that key, because it signs the requests for logs
too. The library that FAB uses for logins takes a cookie with the id of a user and a signature for a login. So a task
could sign in as anybody.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Contains, Counts


def replace_cookie_key(key: str) -> None:
    """Let the applications that FAB makes in this process from now on sign their cookies with `key`.

    Raises:
        UnfitAirflowError: FAB takes the key in another way.
    """
    apply(PATCH, key)


def _make(original: Any, key: str) -> Sequence[Any]:  # noqa: ANN401 - FAB's own
    @functools.wraps(original)
    def create_app(*words: Any, **options: Any) -> Any:  # noqa: ANN401 - an application of Flask
        app = original(*words, **options)
        app.secret_key = key
        return app

    return (create_app,)


_APP = "airflow.providers.fab.www.app"
PATCH = Patch(
    name="cookie-key",
    targets=(f"{_APP}:create_app",),
    requires=(
        Contains(f"{_APP}:create_app", ('flask_app.secret_key = conf.get("api", "SECRET_KEY")', "return flask_app")),
        Counts(_APP, "SECRET_KEY", 1),
    ),
    make=_make,
    without="a task can sign in as any user, the administrator included",
    processes="api-servers",
    is_required=True,
    takers=("airflow.providers.fab.auth_manager.fab_auth_manager",),
)
