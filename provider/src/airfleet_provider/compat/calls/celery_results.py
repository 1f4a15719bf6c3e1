"""The connections that Celery keeps for results."""

from __future__ import annotations

from typing import Any


def keep_result_connections(app: Any) -> None:  # noqa: ANN401 - a Celery application
    """Let this process keep its connection to the result database. Celery makes an engine and a connection per result.

    Celery keeps them only in processes that it knows to be forked. Those of a worker make their backend after the fork.
    """
    manager = getattr(app.backend, "session_manager", None)
    if manager is not None:
        manager.forked = True
