"""The execution API with airfleet's application in front. An outage does not make it fail tasks."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Contains, Has

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415

# Seconds that the clock of a token's issuer may be ahead of this host's, and by which a token may outlast its end.
EARLY_S, LATE_S = 600, 60


def serve(arguments: Any, wrap: Callable[[Any], Any]) -> None:  # noqa: ANN401 - argparse's namespace
    """Run the execution API of this process with `wrap` around it. An API with its own processes is not wrapped."""
    from airflow.cli.commands import api_server_command
    from airflow.configuration import conf

    is_alone = arguments.workers == 1 and conf.get("api", "server_type", fallback="uvicorn").lower() == "uvicorn"
    if is_alone:
        os.environ["AIRFLOW_API_APPS"] = arguments.apps
        apply(APPLICATION, wrap)
        import airflow.api_fastapi.main  # noqa: F401 - an error of the import shows before the server starts
    api_server_command.api_server(arguments)


def _make_application(make: Any, wrap: Callable[[Any], Any]) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    @functools.cache
    def make_wrapped(*words: Any, **options: Any) -> Any:  # noqa: ANN401 - Airflow's own, and an ASGI application
        return wrap(make(*words, **options))

    return (make_wrapped,)


def report_outages(note: Callable[[BaseException], None]) -> None:
    """Answer with an error if the database fails while a task reports its end.

    Airflow rolls back, records the task as failed whatever the task reported, and answers with success. It re-raises
    only DataError, so an outage becomes a DataError here. `note` records it, and `OutageResponses` answers with 503.
    """
    apply(REPORTS, note)


def _make_reports(update: Any, note: Callable[[BaseException], None]) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    from sqlalchemy.exc import DataError, SQLAlchemyError

    from airfleet_provider.compat.calls.db_errors import is_outage

    @functools.wraps(update)
    def report(**words: Any) -> Any:  # noqa: ANN401 - Airflow's own arguments and result
        try:
            return update(**words)
        except SQLAlchemyError as error:
            if not is_outage(error):
                raise
            note(error)
            raise DataError("reporting the state of a task", None, error) from error

    return (report,)


def accept_early_tokens() -> None:
    """Accept the token of a task if the clock of its issuer is ahead. No token lasts longer for it (ADR 16).

    A token has the time of its issue, by the clock of the scheduler or of an api-server. The process that checks the
    token has another clock. Airflow has one leeway for both the beginning and the end of a token.
    """
    apply(TOKENS)


def _make_tokens(make: Any) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    import attrs
    from airflow.api_fastapi.auth.tokens import JWTValidator
    from jwt import ExpiredSignatureError

    class EarlyTokens(JWTValidator):  # type: ignore[misc]
        async def avalidated_claims(self, unvalidated: str, required_claims: Any = None) -> dict[str, Any]:  # noqa: ANN401
            claims: dict[str, Any] = await super().avalidated_claims(unvalidated, required_claims)
            if float(claims["exp"]) + LATE_S <= time.time():
                raise ExpiredSignatureError("Signature has expired")
            return claims

    @functools.wraps(make)
    def make_lenient() -> Any:  # noqa: ANN401 - a JWTValidator
        return EarlyTokens(**{**attrs.asdict(make(), recurse=False), "leeway": EARLY_S})

    return (make_lenient,)


_API = "airflow.api_fastapi"
_ROUTES = f"{_API}.execution_api.routes.task_instances"
_REPORT = f"{_ROUTES}:_create_ti_state_update_query_and_update_state"
APPLICATION = Patch(
    name="execution-api",
    targets=(f"{_API}.app:cached_app",),
    requires=(
        Accepts(f"{_API}.app:cached_app", named=("apps",)),
        Contains(f"{_API}.main", ("from airflow.api_fastapi.app import cached_app", "app = cached_app(apps=")),
        Contains("airflow.cli.commands.api_server_command", ('"airflow.api_fastapi.main:app"',)),
    ),
    make=_make_application,
    without="every call of a task takes Airflow's own way, and an outage of the database makes some of them fail",
    processes="the execution API",
    is_required=True,
)
REPORTS = Patch(
    name="task-reports",
    targets=(_REPORT,),
    requires=(
        Accepts(_REPORT, named=("ti_patch_payload", "task_instance_id", "session", "query", "dag_id", "dag_bag")),
        Contains(
            f"{_ROUTES}:ti_update_state", ("_create_ti_state_update_query_and_update_state(", "except DataError:")
        ),
    ),
    make=_make_reports,
    without="a task that reports its success while the database is away is recorded as failed",
    processes="the execution API",
    is_required=True,
)
TOKENS = Patch(
    name="early-tokens",
    targets=(f"{_API}.execution_api.app:_jwt_validator",),
    requires=(
        Accepts(f"{_API}.execution_api.app:_jwt_validator"),
        Contains(f"{_API}.execution_api.app", ("register_value(JWTValidator, _jwt_validator()",)),
        Accepts(f"{_API}.auth.tokens:JWTValidator.avalidated_claims", ("self", "unvalidated", "required_claims")),
        Has(f"{_API}.auth.tokens:JWTValidator", ("leeway",)),
    ),
    make=_make_tokens,
    without="tasks do not start where the clocks of hosts are more than some seconds apart",
    processes="the execution API",
    is_required=True,
)
