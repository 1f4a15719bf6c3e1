"""Lookups of variables and connections that distinguish "it does not exist" from "it is unknown" (ADR 13).

Airflow asks one secrets back end after another, and ignores the errors of each. A store that does not answer then looks
like a store without the value, and a task continues with a default. With this patch, the back ends keep their order,
and a value of a later one still counts. But if none has the value and one of them failed, the lookup fails too.

The patch replaces `ensure_secrets_loaded`, from which all lookups of Airflow get their back ends.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Contains

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415

LOOKUPS = ("get_variable", "get_connection", "aget_variable", "aget_connection")
SUPERVISED = "airflow.sdk.execution_time.secrets.execution_api.ExecutionAPISecretsBackend"


def tell_outages() -> None:
    """Let a lookup in this process fail if a back end failed and no other has the value.

    Raises:
        UnfitAirflowError: This Airflow gets its back ends from elsewhere.
    """
    apply(PATCH)


def _told(original: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    @functools.wraps(original)
    def load(*args: Any, **kwargs: Any) -> list[Any]:  # noqa: ANN401 - what Airflow says
        return follow(original(*args, **kwargs))

    return load


def follow(backends: Iterable[Any]) -> list[Any]:
    """Return the back ends of one lookup, and a last one that fails if one of them failed."""
    failures: list[str] = []
    followed = [RecordingBackend(one, failures) for one in backends]
    return [*followed, FailureReportingBackend(failures)]


class RecordingBackend:
    """A secrets back end that records its failures. For Airflow, it has the class of the original."""

    def __init__(self, backend: Any, failures: list[str]) -> None:  # noqa: ANN401 - a BaseSecretsBackend
        kind = type(backend)
        is_supervised = f"{kind.__module__}.{kind.__qualname__}" == SUPERVISED
        self._asked = SupervisorBackend() if is_supervised else backend
        self._backend = backend
        self._failures = failures

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._backend)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the back end has
        if name not in LOOKUPS:
            return getattr(self._backend, name)
        lookup = getattr(self._asked, name)
        return _note_async(self, lookup) if inspect.iscoroutinefunction(lookup) else _note(self, lookup)

    def note(self, error: Exception) -> None:
        """Record a failure for the error of the whole lookup."""
        said = (str(error).strip().splitlines() or [""])[0]
        self._failures.append(f"{type(self._backend).__name__}: {type(error).__name__}: {said}")


def _note(followed: RecordingBackend, lookup: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(lookup)
    def ask(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - what the back end takes and gives
        try:
            return lookup(*args, **kwargs)
        except Exception as error:
            followed.note(error)
            raise

    return ask


def _note_async(followed: RecordingBackend, lookup: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(lookup)
    async def ask(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        try:
            return await lookup(*args, **kwargs)
        except Exception as error:
            followed.note(error)
            raise

    return ask


class FailureReportingBackend:
    """The last back end. Airflow asks it if no other has the value."""

    def __init__(self, failures: list[str]) -> None:
        self._failures = failures

    def get_variable(self, key: str, team_name: str | None = None) -> None:
        self._answer(f"variable {key!r}")

    def get_connection(self, conn_id: str, team_name: str | None = None) -> None:
        self._answer(f"connection {conn_id!r}")

    def _answer(self, what: str) -> None:
        if self._failures:
            raise make_error(f"nobody could say whether there is a {what}: {'; '.join(self._failures)}")


class SupervisorBackend:
    """The back end of tasks and triggers, which asks their supervisor, but without ignoring errors."""

    def get_variable(self, key: str, team_name: str | None = None) -> Any:  # noqa: ANN401 - a value, or None
        from airflow.sdk.execution_time import comms, task_runner

        return _read(task_runner.SUPERVISOR_COMMS.send(comms.GetVariable(key=key)), key)

    def get_connection(self, conn_id: str, team_name: str | None = None) -> Any:  # noqa: ANN401
        from airflow.sdk.execution_time import comms, task_runner

        return _read(task_runner.SUPERVISOR_COMMS.send(comms.GetConnection(conn_id=conn_id)), conn_id)

    async def aget_variable(self, key: str) -> Any:  # noqa: ANN401
        from airflow.sdk.execution_time import comms, task_runner

        return _read(await task_runner.SUPERVISOR_COMMS.asend(comms.GetVariable(key=key)), key)

    async def aget_connection(self, conn_id: str) -> Any:  # noqa: ANN401
        from airflow.sdk.execution_time import comms, task_runner

        return _read(await task_runner.SUPERVISOR_COMMS.asend(comms.GetConnection(conn_id=conn_id)), conn_id)


def _read(answer: Any, name: str) -> Any:  # noqa: ANN401 - a message of the supervisor
    from airflow.sdk.exceptions import AirflowRuntimeError, AirflowSecretsBackendAccessDenied, ErrorType
    from airflow.sdk.execution_time import comms
    from airflow.sdk.execution_time.context import _process_connection_result_conn

    if isinstance(answer, comms.VariableResult):
        return answer.value
    if not isinstance(answer, comms.ErrorResponse):
        return _process_connection_result_conn(answer)
    if answer.error in (ErrorType.VARIABLE_NOT_FOUND, ErrorType.CONNECTION_NOT_FOUND):
        return None
    if answer.error is ErrorType.PERMISSION_DENIED:
        # Airflow's client keeps of a refusal what was asked for, and not the reason.
        raise AirflowSecretsBackendAccessDenied(
            f"Access denied for {name!r} by Execution API: `access.tasks` of fleet.yaml does not let this Dag use it,"
            " or the task's token has ended; see `airfleet access explain admin DAG` and `airfleet audit list`"
        )
    raise AirflowRuntimeError(answer)


def make_error(text: str) -> Exception:
    """Return the only kind of error that Airflow's lookups re-raise. An api-server answers it with 500: tasks retry."""
    error: Exception = _error_class()(text)
    return error


@functools.cache
def _error_class() -> Any:  # noqa: ANN401 - a subclass of a class without types
    from airflow.sdk.exceptions import AirflowSecretsBackendAccessDenied

    class LookupFailedError(AirflowSecretsBackendAccessDenied):  # type: ignore[misc]
        """A secrets back end that may have the value did not answer."""

    return LookupFailedError


_BACKEND = "airflow.sdk.execution_time.secrets.execution_api:ExecutionAPISecretsBackend"
PATCH = Patch(
    name="secret-lookups",
    targets=("airflow.configuration:ensure_secrets_loaded", "airflow.sdk.configuration:ensure_secrets_loaded"),
    # Every process of Airflow makes these checks, so they must be cheap.
    requires=(
        Accepts("airflow.configuration:ensure_secrets_loaded"),
        Accepts("airflow.sdk.configuration:ensure_secrets_loaded"),
    ),
    assumes=tuple(
        Contains(
            f"{_BACKEND}.{name}",
            (
                f"SUPERVISOR_COMMS.{'asend' if name.startswith('a') else 'send'}(Get",
                "except AirflowSecretsBackendAccessDenied:",
            ),
        )
        for name in LOOKUPS
    ),
    make=lambda *originals: tuple(map(_told, originals)),
    without="a task whose secrets back end does not answer continues with a default, as if the value did not exist",
    processes="every process of Airflow",
    is_required=True,
    takers=("airflow.models.variable", "airflow.models.connection"),
)
