"""Who sends a request to the api-server, what Airflow's auth manager lets the user do, and Airflow's audit log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import get_user
from airflow.models.dag import DagModel
from airflow.models.log import Log

__all__ = [
    "get_user",
    "may_audit",
    "may_operate",
    "may_read_dag",
    "may_read_logs",
    "may_see_platform",
    "read_dags",
    "read_subject",
    "record",
]


def read_dags(user: Any) -> frozenset[str]:  # noqa: ANN401 - a user of any auth manager
    """Return the ids of the Dags that a user may read."""
    return frozenset(get_auth_manager().get_authorized_dag_ids(user=user, method="GET"))


def may_read_dag(user: Any, dag: str) -> bool:  # noqa: ANN401 - as above
    """Return whether a user may read a Dag and its task instances."""
    return bool(
        get_auth_manager().is_authorized_dag(
            method="GET",
            access_entity=DagAccessEntity.TASK_INSTANCE,
            details=DagDetails(id=dag, team_name=DagModel.get_team_name(dag)),
            user=user,
        )
    )


def may_read_logs(user: Any, dag: str | None) -> bool:  # noqa: ANN401 - as above
    """Return whether a user may read the logs of a Dag's tasks; with None, of every Dag that the user may read."""
    details = DagDetails(id=dag, team_name=DagModel.get_team_name(dag)) if dag is not None else None
    return bool(
        get_auth_manager().is_authorized_dag(
            method="GET", access_entity=DagAccessEntity.TASK_LOGS, details=details, user=user
        )
    )


def may_see_platform(user: Any) -> bool:  # noqa: ANN401 - as above
    """Return whether a user may see the activity of the whole cluster, as on Airflow's own home page."""
    return bool(get_auth_manager().is_authorized_view(access_view=AccessView.CLUSTER_ACTIVITY, user=user))


def may_operate(user: Any) -> bool:  # noqa: ANN401 - as above
    """Return whether a user operates the platform: may edit slot pools, which Airflow lets its roles Op and Admin."""
    return bool(get_auth_manager().is_authorized_pool(method="PUT", user=user))


def may_audit(user: Any) -> bool:  # noqa: ANN401 - as above
    """Return whether a user may read Airflow's audit log, of whichever Dags the user may read."""
    return bool(get_auth_manager().is_authorized_dag(method="GET", access_entity=DagAccessEntity.AUDIT_LOG, user=user))


def record(session: Any, user: Any, event: str, extra: Mapping[str, Any]) -> None:  # noqa: ANN401 - as above
    """Add a line to Airflow's audit log, in the transaction of a session."""
    name = user.get_name()
    session.add(Log(event, owner=name, owner_display_name=name, extra=json.dumps(dict(extra))))


async def read_subject(token: str) -> str:
    """Return the id of the user whom a token names, or an empty text if the token is not valid.

    Whether the user still exists, and whether the token was revoked, is not checked.
    """
    try:
        claims = await get_auth_manager()._get_token_validator().avalidated_claims(token)
    except Exception:
        return ""
    return str(claims.get("sub", ""))
