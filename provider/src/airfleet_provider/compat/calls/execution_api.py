"""The parts of Airflow's execution API that the fast path repeats. tests/local/test_execution_api.py compares both."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from typing import Any

from airfleet_provider.compat.calls.checked_tokens import CheckedTokens

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415

# The digest of the source of all repeated functions.
DIGEST = "a7131d7862d08266096293d8eda3c1c729d5bd380020ce74f94bcd7374c9d46b"


def list_options() -> tuple[Any, ...]:
    """Return the options of `airflow api-server`."""
    from airflow.cli.cli_config import core_commands

    return next(tuple(command.args) for command in core_commands if command.name == "api-server")


def find_obstacle() -> str | None:
    """Return why Airflow's own code must answer every call, or None if the fast path gives the same answers."""
    from airflow import settings
    from airflow.configuration import conf
    from airflow.version import version

    if digest_source() != DIGEST:
        return f"Airflow {version} answers in another way"
    if settings.engine.dialect.name != "postgresql" or settings.engine.dialect.driver != "psycopg2":
        return "the metadata database is not PostgreSQL by psycopg2"
    wants = (("core", "multi_team"), ("traces", "otel_on"), ("state_store", "clear_on_success"))
    for section, key in wants:
        if conf.getboolean(section, key, fallback=False):
            return f"[{section}] {key} is set"
    return None


def digest_source() -> str:
    """Return the digest of the installed source of the functions that the fast path repeats."""
    from airflow.api_fastapi.execution_api import app, security
    from airflow.api_fastapi.execution_api.datamodels import taskinstance as models
    from airflow.api_fastapi.execution_api.datamodels import token
    from airflow.api_fastapi.execution_api.routes import task_instances as routes
    from airflow.api_fastapi.execution_api.routes import xcoms
    from airflow.api_fastapi.execution_api.versions import bundle
    from airflow.models.log import Log
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel

    repeated = (
        routes.ti_run,
        routes.ti_update_state,
        routes._create_ti_state_update_query_and_update_state,
        routes.ti_heartbeat,
        routes.ti_put_rtif,
        routes._is_eligible_to_retry,
        TaskInstance.update_rtif,
        TaskInstance.duration_expression_update,
        RenderedTaskInstanceFields,
        Log,
        models.TIRunContext,
        models.DagRun,
        models.TIEnterRunningPayload,
        models.TISuccessStatePayload,
        models.TIHeartbeatInfo,
        token.TIClaims,
        security.JWTBearer,
        security.require_auth,
        app.JWTReissueMiddleware,
        app.CorrelationIdMiddleware,
        xcoms.has_xcom_access,
        xcoms.get_xcom,
        xcoms.GetXcomFilterParams,
        xcoms.set_xcom,
        xcoms.XComResponse,
        XComModel.set,
        XComModel.get_many,
    )
    tables = (TaskInstance.__table__, Log.__table__, XComModel.__table__)
    columns = sorted(str(column) for table in tables for column in table.columns)
    text = "\n".join((*map(inspect.getsource, repeated), *columns, bundle.versions[0].value))
    return hashlib.sha256(text.encode()).hexdigest()


class Models:
    """Airflow's models of requests and answers, and its tokens."""

    def __init__(self) -> None:
        from airflow.api_fastapi.execution_api.app import _jwt_generator, _jwt_validator
        from airflow.api_fastapi.execution_api.datamodels import taskinstance as models
        from airflow.api_fastapi.execution_api.datamodels.token import TIClaims, TIToken
        from airflow.api_fastapi.execution_api.routes.task_instances import _is_eligible_to_retry
        from airflow.api_fastapi.execution_api.versions import bundle
        from airflow.configuration import conf
        from pydantic import JsonValue, TypeAdapter, create_model

        self.version: str = bundle.versions[0].value
        # As for Airflow, no number below zero deletes anything.
        self.kept_runs: int = max(0, conf.getint("core", "num_dag_runs_to_retain_rendered_fields", fallback=0))
        self._validator = _jwt_validator()
        self._known = CheckedTokens()
        # Airflow makes one for each token, and each reads the key from its file.
        self._generator = _jwt_generator()
        self._claims, self._token = TIClaims, TIToken
        self._started = models.TIEnterRunningPayload
        self._ended = models.TISuccessStatePayload
        self._alive = models.TIHeartbeatInfo
        self._context, self._run = models.TIRunContext, models.DagRun
        fields: Any = dict[str, JsonValue]
        self._fields = TypeAdapter(fields)
        # The calls `rtif` and `state` in one.
        self._whole_end = create_model("TaskEnd", fields=(fields, ...), end=(models.TISuccessStatePayload, ...))
        self._may_retry = _is_eligible_to_retry

    async def read_claims(self, token: str) -> tuple[str, Mapping[str, Any]]:
        """Return the task instance and the claims of a valid token.

        Raises:
            Exception: The token is not valid; it is the error of the check that failed.
        """
        if known := self._known.find(token):
            return known
        claims = await self._validator.avalidated_claims(token, {})
        claims.setdefault("scope", "execution")
        subject = str(self._token(id=claims["sub"], claims=self._claims(**claims)).id)
        self._known.keep(token, subject, claims)
        return subject, claims

    def sign(self, task_instance: str) -> str:
        """Return the token of a task that has started."""
        return str(self._generator.generate(extras={"sub": task_instance, "scope": "execution"}))

    def read_start(self, body: bytes) -> dict[str, Any]:
        return dict(self._started.model_validate_json(body).model_dump())

    def read_success(self, body: bytes) -> dict[str, Any] | None:
        """Return the end of a task that succeeded and changed no asset.

        Raises:
            ValueError: The body is another state.
        """
        return self._describe(self._ended.model_validate_json(body))

    def read_end(self, body: bytes) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Return the rendered fields of a task, with secrets masked, and its end as `read_success` does.

        Raises:
            ValueError: The body is another one.
        """
        payload: Any = self._whole_end.model_validate_json(body)
        return self._mask(payload.fields), self._describe(payload.end)

    def _describe(self, payload: Any) -> dict[str, Any] | None:  # noqa: ANN401 - a TISuccessStatePayload
        if payload.task_outlets or payload.outlet_events:
            return None
        return {
            "end_date": payload.end_date,
            "label": payload.rendered_map_index,
            "has_label": "rendered_map_index" in payload.model_fields_set,
        }

    def read_heartbeat(self, body: bytes) -> dict[str, Any]:
        return dict(self._alive.model_validate_json(body).model_dump())

    def read_fields(self, body: bytes) -> dict[str, Any]:
        """Return the rendered fields, with secrets masked."""
        return self._mask(self._fields.validate_json(body))

    def _mask(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        from airflow._shared.secrets_masker import redact

        return {name: redact(value, name) for name, value in fields.items()}

    def write_context(self, row: Mapping[str, Any]) -> bytes:
        """Return the answer for a task that starts."""
        run = {name: row[name] for name in self._run.model_fields if name in row}
        context = self._context(
            dag_run=self._run(**run, consumed_asset_events=[], note=None, team_name=None),
            task_reschedule_count=row["reschedules"],
            max_tries=row["max_tries"],
            variables=[],
            connections=[],
            xcom_keys_to_clear=row["xcom_keys"],
            should_retry=self._may_retry(row["previous_state"], row["try_number"], row["max_tries"]),
        )
        return str(context.model_dump_json(exclude_unset=True)).encode()
