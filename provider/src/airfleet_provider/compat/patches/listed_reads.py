"""Airflow's Dag processor and triggerer, which refuse to their children what a list of fleet.yaml refuses (ADR 80).

Their API within the process allows everything, and does not know who asks. The supervisor of a child does.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any

from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Contains

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415

log = logging.getLogger("airfleet")

CONNECTIONS = frozenset({"GetConnection"})
VARIABLES = frozenset({"GetVariable", "PutVariable", "DeleteVariable"})
XCOM_READS = frozenset({"GetXCom", "GetXComCount", "GetXComSequenceItem", "GetXComSequenceSlice"})
XCOM_WRITES = frozenset({"SetXCom", "DeleteXCom"})
# The kind of what is asked for, its name or the id of its Dag, whether it is written, and the file of the Dag.
# The function returns if that may be, and raises PermissionError if not.
Check = Callable[[str, str, bool, str], None]


def limit_callbacks(check: Check) -> None:
    """Let `check` decide what the code of a Dag file may use in this Dag processor."""
    apply(CALLBACKS, check)


def limit_triggers(check: Check) -> None:
    """Let `check` decide what triggers may use in this triggerer. They have no file."""
    apply(TRIGGERS, check)


def describe(message: Any) -> tuple[str, str, bool] | None:  # noqa: ANN401 - a message of Airflow's
    """Return what a message asks for: its kind, its name or Dag, and whether it is written; or None."""
    kind = type(message).__name__
    if kind in CONNECTIONS:
        return "connections", message.conn_id, False
    if kind in VARIABLES:
        return "variables", message.key, kind != "GetVariable"
    if kind in XCOM_READS | XCOM_WRITES:
        return "xcoms", message.dag_id, kind in XCOM_WRITES
    return None


def _make(original: Any, check: Check) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    @functools.wraps(original)
    def handle(self: Any, msg: Any, log_: Any, req_id: int) -> None:  # noqa: ANN401 - Airflow's own
        if wanted := describe(msg):
            try:
                check(*wanted, getattr(self, "dag_file_rel_path", ""))
            except Exception as error:
                is_refusal = isinstance(error, PermissionError)
                log.warning("%s", error if is_refusal else f"nothing is given, as lists cannot be read: {error!r}")
                self.send_msg(None, request_id=req_id, error=_make_error(str(error), is_refusal=is_refusal))
                return
        original(self, msg, log_, req_id)

    return (handle,)


def _make_error(text: str, *, is_refusal: bool) -> Any:  # noqa: ANN401 - a message of Airflow's
    from airflow.sdk.exceptions import ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse

    if is_refusal:
        return ErrorResponse(error=ErrorType.PERMISSION_DENIED, detail={"message": text, "status_code": 403})
    return ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"message": text, "status_code": 503})


_PROCESSOR = "airflow.dag_processing.processor:DagFileProcessorProcess._handle_request"
_TRIGGERER = "airflow.jobs.triggerer_job_runner:TriggerRunnerSupervisor._handle_request"
_ARGUMENTS = ("self", "msg", "log", "req_id")
CALLBACKS = Patch(
    name="listed-reads-of-callbacks",
    targets=(_PROCESSOR,),
    requires=(
        Accepts(_PROCESSOR, _ARGUMENTS),
        Contains(_PROCESSOR, ("msg, GetConnection)", "msg, GetVariable)", "msg, GetXCom)", "self.send_msg(")),
    ),
    make=_make,
    without="callbacks may use connections, variables and XComs that lists of fleet.yaml keep for other Dags",
    processes="the Dag processor",
    is_required=True,
)
TRIGGERS = Patch(
    name="listed-reads-of-triggers",
    targets=(_TRIGGERER,),
    requires=(
        Accepts(_TRIGGERER, _ARGUMENTS),
        Contains(_TRIGGERER, ("msg, GetConnection)", "msg, GetVariable)", "msg, GetXCom)")),
    ),
    make=_make,
    without="triggers may use connections, variables and XComs that lists of fleet.yaml keep for tasks",
    processes="the triggerer",
    is_required=True,
)
