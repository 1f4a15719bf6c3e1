"""The checks that Airflow's execution API leaves to others: may a task use a connection, a variable, an XCom?

Airflow asks three functions for each request, after it has checked the token. FastAPI lets an application override
them, which Airflow itself does for its API inside of the triggerer and of the Dag processor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# Where Airflow mounts the execution API.
MOUNT = "/execution"


class TaskChecks(Protocol):
    """What is asked for each request. A method returns if the task instance may; else it raises PermissionError."""

    def connection(self, name: str, instance: str) -> None: ...

    def variable(self, name: str, instance: str) -> None: ...

    def xcoms(self, dag: str, instance: str, *, writes: bool) -> None: ...


def find_application(app: Any) -> Any:  # noqa: ANN401 - FastAPI applications
    """Return the execution API below Airflow's application.

    Raises:
        LookupError: There is none.
    """
    found = [one.app for one in app.routes if getattr(one, "path", "") == MOUNT]
    if len(found) != 1:
        raise LookupError(f"Airflow's application has {len(found)} mounts at {MOUNT}")
    return found[0]


def enforce(app: Any, checks: TaskChecks) -> None:  # noqa: ANN401 - the execution API
    """Let `checks` decide about each request to the execution API. A refusal is answered with 403."""
    from airflow.api_fastapi.execution_api.routes.connections import has_connection_access
    from airflow.api_fastapi.execution_api.routes.variables import has_variable_access
    from airflow.api_fastapi.execution_api.routes.xcoms import has_xcom_access

    connection, variable, xcoms = _make_dependencies(checks)
    app.dependency_overrides[has_connection_access] = connection
    app.dependency_overrides[has_variable_access] = variable
    app.dependency_overrides[has_xcom_access] = xcoms


def _make_dependencies(checks: TaskChecks) -> tuple[Callable[..., bool], Callable[..., bool], Callable[..., bool]]:
    from airflow.api_fastapi.execution_api.security import require_auth
    from fastapi import Depends, HTTPException, Request

    token_of = Depends(require_auth)

    def ask(check: Callable[..., None], *words: Any, **more: Any) -> bool:  # noqa: ANN401 - of the check
        try:
            check(*words, **more)
        except PermissionError as error:
            raise HTTPException(403, {"reason": "access_denied", "message": str(error)}) from None
        return True

    # FastAPI runs them in a thread, as the checks may read from the database. It reads the types of the arguments, so
    # they are set without strings.
    def connection(request, token=token_of):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return ask(checks.connection, request.path_params["connection_id"], str(token.id))

    def variable(request, token=token_of):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return ask(checks.variable, request.path_params["variable_key"], str(token.id))

    def xcoms(request, token=token_of):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        writes = request.method not in SAFE
        return ask(checks.xcoms, request.path_params["dag_id"], str(token.id), writes=writes)

    for one in (connection, variable, xcoms):
        one.__annotations__["request"] = Request
    return connection, variable, xcoms
