"""The rendered fields of a short task are stored with its end, in one call of the execution API (ADR 18)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, ClassVar

from airfleet_provider.compat.patches.requirements import Accepts, Contains

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415

# After this time the fields are stored, whatever the task does: the UI shows them while it runs.
HOLD_S = 0.5
# If the API is away then, it is asked again after this time. Each time, Airflow's client repeats the call by itself.
AGAIN_S = 30.0
# An API that does not know the call is not asked again for so long: another one may be there, or a newer one.
PAUSE_S = 60.0
_SUPERVISOR, _CLIENT = "airflow.sdk.execution_time.supervisor", "airflow.sdk.api.client"
_ACTIVITY = f"{_SUPERVISOR}:ActivitySubprocess"
# The code of Airflow around `HoldsFields`.
REQUIRES = (
    Accepts(f"{_ACTIVITY}._handle_request", ("self", "msg", "log", "req_id")),
    Accepts(f"{_ACTIVITY}._service_subprocess", ("self", "max_wait_time")),
    Accepts(f"{_ACTIVITY}._send_terminal_state_msg", ("self", "msg")),
    Accepts(f"{_ACTIVITY}.update_task_state_if_needed", ("self",)),
    Accepts(f"{_ACTIVITY}.send_msg", ("self", "msg"), ("request_id", "error")),
    Accepts(f"{_CLIENT}:TaskInstanceOperations.set_rtif", ("self", "id", "body")),
)
ASSUMES = (
    # What is done in place of this code.
    Contains(
        f"{_ACTIVITY}._handle_request",
        (
            "self.client.task_instances.set_rtif(self.id, msg.rendered_fields)",
            "if e.response.status_code != HTTPStatus.GONE:",
            "self.send_msg(resp, request_id=req_id, error=None, **dump_opts)",
        ),
    ),
    Contains(
        f"{_ACTIVITY}._send_terminal_state_msg",
        (
            "self._pending_terminal_state_msg = msg",
            "rendered_map_index=self._rendered_map_index,\n            )\n            self._terminal_state = msg.state",
        ),
    ),
    Contains(
        f"{_CLIENT}:TaskInstanceOperations.succeed",
        ("outlet_events=outlet_events,", 'self.client.patch(f"task-instances/{id}/state", content=body'),
    ),
    # The process has ended by then, whatever its last message was.
    Contains(f"{_ACTIVITY}.wait", ("self._monitor_subprocess()", "self.update_task_state_if_needed()")),
)


class HoldsFields:
    """A part of Airflow's supervisor of a task: it answers the task that its fields are stored, and stores them later.

    They are stored with the end of a task that succeeds within `HOLD_S`, or else then, and before any other end.
    """

    clock: Callable[[], float] = staticmethod(time.monotonic)
    # Until then no supervisor in this process holds fields.
    paused_until: ClassVar[float] = 0.0
    # Airflow's own attributes.
    id: Any
    client: Any
    process_log: Any
    _rendered_map_index: str | None
    _terminal_state: str | None
    _held: dict[str, Any] | None = None
    _text = b""
    _due = 0.0

    def _handle_request(self, msg: Any, log: Any, req_id: int) -> None:  # noqa: ANN401 - Airflow's own
        from airflow.sdk.execution_time.comms import SetRenderedFields

        if isinstance(msg, SetRenderedFields):
            if self._hold(msg.rendered_fields):
                self.send_msg(None, request_id=req_id, error=None)  # type: ignore[attr-defined]
                return
            self._store_held()
        super()._handle_request(msg, log, req_id)  # type: ignore[misc]

    def _service_subprocess(self, max_wait_time: float, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        if self._held is None:
            return super()._service_subprocess(max_wait_time, *args, **kwargs)  # type: ignore[misc]
        left = max(0.0, self._due - self.clock())
        code = super()._service_subprocess(min(max_wait_time, left), *args, **kwargs)  # type: ignore[misc]
        if self.clock() >= self._due:
            self._store_held(again_s=AGAIN_S)
        return code

    def _send_terminal_state_msg(self, msg: Any) -> None:  # noqa: ANN401
        if self._held is not None:
            if self._end_with_held(msg):
                self._terminal_state = msg.state
                return
            self._store_held()
        super()._send_terminal_state_msg(msg)  # type: ignore[misc]

    def update_task_state_if_needed(self) -> None:
        """Store what is held: the process has ended, perhaps without a word. Then report its state as Airflow does."""
        self._store_held()
        super().update_task_state_if_needed()  # type: ignore[misc]

    def _hold(self, fields: dict[str, Any]) -> bool:
        """Keep fields for later, unless Airflow would refuse them, or they are those of a task that has ended."""
        now = self.clock()
        if self._held is not None or self._terminal_state or not fields or now < HoldsFields.paused_until:
            return False
        try:
            self._text = json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except (TypeError, ValueError, RecursionError):
            return False
        self._held, self._due = fields, now + HOLD_S
        return True

    def _end_with_held(self, msg: Any) -> bool:  # noqa: ANN401
        """Report success and fields in one call. Return False if that failed: then the usual calls follow.

        They may repeat what this call has done, if only its answer was lost. Airflow repeats its calls too.
        """
        from airflow.sdk.api.datamodels._generated import TISuccessStatePayload
        from airflow.sdk.execution_time.comms import SucceedTask

        # Airflow's own code answers ends with assets.
        if not isinstance(msg, SucceedTask) or msg.task_outlets or msg.outlet_events:
            return False
        end = TISuccessStatePayload(
            end_date=msg.end_date,
            task_outlets=msg.task_outlets,
            outlet_events=msg.outlet_events,
            rendered_map_index=self._rendered_map_index,
        )
        body = b'{"fields":%b,"end":%b}' % (self._text, end.model_dump_json().encode())
        headers = {"content-type": "application/json"}
        try:
            # `send` and not `request`: Airflow's client would repeat that before the usual calls.
            request = self.client.build_request("PATCH", f"task-instances/{self.id}/end", content=body, headers=headers)
            self.client.send(request)
        except Exception as error:
            if _find_status(error) == HTTPStatus.NOT_FOUND:
                HoldsFields.paused_until = self.clock() + PAUSE_S
            return False
        self._held = None
        return True

    def _store_held(self, again_s: float | None = None) -> None:
        """Store what is held. If the API does not answer, it is held for `again_s` more, or given up without that.

        A task whose fields the API refuses goes on: what it does next has its own answer.
        """
        fields, self._held = self._held, None
        if fields is None:
            return
        try:
            self.client.task_instances.set_rtif(self.id, fields)
        except Exception as error:
            status = _find_status(error)
            if again_s is not None and (status is None or status >= HTTPStatus.INTERNAL_SERVER_ERROR):
                self._held, self._due = fields, self.clock() + again_s
            elif status != HTTPStatus.GONE:  # that of a task instance that was cleared; Airflow ignores it too
                self.process_log.warning(
                    "airfleet: the rendered fields of this task are not stored",
                    error=f"{type(error).__name__}: {error}",
                )


def _find_status(error: Exception) -> int | None:
    status: int | None = getattr(getattr(error, "response", None), "status_code", None)
    return status
