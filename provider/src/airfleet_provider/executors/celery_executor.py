"""Airflow's CeleryExecutor, with signed messages, and with a scheduler that survives outages of broker and database."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from airflow.exceptions import AirflowConfigException
from airflow.models.taskinstancekey import TaskInstanceKey
from airflow.providers.celery.executors import celery_executor
from celery.signals import before_task_publish
from kombu.serialization import dumps

from airfleet_provider.breakers import gate
from airfleet_provider.compat.calls import celery_publishing, config, task_instances
from airfleet_provider.compat.calls.celery_results import keep_result_connections
from airfleet_provider.compat.patches import outages
from airfleet_provider.contract.result_schema import REFUSED
from airfleet_provider.executors import celery_config, message_signing
from airfleet_provider.executors.executor_events import KnowsScheduled
from airfleet_provider.executors.lost_results import LostResults
from airfleet_provider.liveness.host_probe import HostProbe
from airfleet_provider.liveness.task_liveness import TaskLiveness
from airfleet_provider.scheduler_wakeup import wakeup

# A refused message is signed and sent again at most so often: a worker without our public key would always refuse it.
MOST_REFUSALS = 3
RESULTS_KEPT_S = 7 * 24 * 3600.0
CLEAN_EVERY_S = 3600.0


class CeleryExecutor(KnowsScheduled, celery_executor.CeleryExecutor):  # type: ignore[misc]
    """Sends signed tasks to Celery; a task that cannot be sent now is sent in a later loop."""

    has_read = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self.unanswered = LostResults()
        self.refused: dict[Any, str] = {}
        self.refusals: Counter[Any] = Counter()
        self.unsent: dict[Any, str] = {}
        self.cleaned_at = time.monotonic()

    def start(self) -> None:
        """Prepare the scheduler before its loop begins: outages, signatures, connections, and waiting by events.

        Raises:
            AirflowConfigException: this process has no key to sign tasks with.
        """
        watch = TaskLiveness(
            config.read_api_urls(),
            config.read_heartbeat_timeout(),
            pulse=HostProbe(config.read_log_port()),
            authorities=config.read_authorities(),
        )
        outages.outlast_outages(watch)
        sign_messages(celery_config.read_link())
        super().start()
        keep_result_connections(self.celery_app)
        self.set_up_publishing()
        wakeup.start(self.has_store)
        gate.start()

    def set_up_publishing(self) -> None:
        """Configure the connections that send tasks: a dead broker or network never blocks this process for good.

        Must be called before the first task is sent.
        """
        self.publisher = celery_publishing.find_publishing_app(self.team_name)
        celery_publishing.close_abruptly(self.publisher)
        for app in (self.celery_app, self.publisher):
            celery_publishing.notice_dead_brokers(app)

    def has_store(self) -> bool:
        """Return whether tasks wait at the workers: airfleet sends up to four times as many tasks as slots exist."""
        return bool(self.slots_available <= self.parallelism // 2)

    def read_results(self) -> None:
        """Read results now instead of in this loop's `sync`; results that arrive later are read in the next loop."""
        super().sync()
        self.has_read = True

    def sync(self) -> None:
        """Read results unless `read_results` did so in this loop; then handle refused messages and lost results."""
        if self.has_read:
            self.has_read = False
        else:
            super().sync()
        self.note_unsent()
        if self.refused:
            self.send_refused()
        now = time.monotonic()
        if self.workloads and self.unanswered.is_due(now):
            self.free_unanswered(now)
        if now - self.cleaned_at >= CLEAN_EVERY_S:
            self.cleaned_at = now
            self.remove_old_results()

    def note_unsent(self) -> None:
        """Record which tasks the broker has not taken in this loop, for the scheduler that may follow this one.

        The scheduler's heartbeat comes later in the loop. So what was queued before a heartbeat is sent or recorded.

        Raises:
            DBAPIError: The database does not answer; then the loop ends before its heartbeat.
        """
        waiting = {
            key: message
            for key, workload in self.queued_tasks.items()
            if (message := getattr(workload.ti, "external_executor_id", None))
        }
        if waiting != self.unsent:
            task_instances.note_unsent(
                set(waiting.values()) - set(self.unsent.values()), set(self.unsent.values()) - set(waiting.values())
            )
            self.unsent = waiting

    def remove_old_results(self) -> None:
        """Remove the results of long ended tasks; log an error and leave it to the next call."""
        try:
            self.celery_app.backend.remove_old(RESULTS_KEPT_S)
        except Exception as error:
            self.log.warning("Cannot remove old results now: %s", error)

    def success(self, key: Any, info: Any = None) -> None:  # noqa: ANN401
        """Record that a worker has finished a message."""
        self.refusals.pop(key, None)
        super().success(key, info)

    def update_task_state(self, key: Any, state: str, info: Any) -> None:  # noqa: ANN401
        """Record the state that a worker stored for a message; remember a refused message for `send_refused`."""
        if state != REFUSED:
            super().update_task_state(key, state, info)
        elif key not in self.refused and key in self.workloads:
            self.refused[key] = self.workloads[key].task_id

    def send_refused(self) -> None:
        """Queue refused messages again, such as unsigned messages of an earlier version.

        A task whose message was refused `MOST_REFUSALS` times fails, and so does a refused callback.
        """
        for key in [key for key in self.refused if self.refusals[key] >= MOST_REFUSALS or not is_task(key)]:
            self.log.error("Workers refuse %s: check that they have the public key of this scheduler", key)
            del self.refused[key], self.refusals[key]
            self.fail(key)
        locked = task_instances.send_again(set(self.refused.values()))
        for key in [key for key, one in self.refused.items() if one not in locked]:
            self.log.warning("A worker refused %s: not signed by this scheduler; sent again if it still waits", key)
            self.refusals[key] += 1
            del self.refused[key]
            self._forget(key)

    def free_unanswered(self, now: float) -> None:
        """Free the slots of tasks that ended while their results were lost."""
        sent = {key: one.task_id for key, one in self.workloads.items() if is_task(key)}
        for key in self.unanswered.look(now, sent, task_instances.list_awaited(set(sent.values()))):
            self.log.warning("%s has ended, but its result was lost: its slot is free now", key)
            self._forget(key)

    def _forget(self, key: Any) -> None:  # noqa: ANN401
        self.running.discard(key)
        self.workloads.pop(key, None)

    def revoke_task(self, *, ti: Any) -> None:  # noqa: ANN401 - airflow.models.TaskInstance
        """Forget a message. Workers accept no revocation, but a task that is not queued any more does not start."""
        self.workloads.pop(ti.key, None)
        super().revoke_task(ti=ti)

    def _process_workloads(self, workload_list: list[Any]) -> None:
        super()._process_workloads(workload_list)
        for task in (workload.ti for workload in workload_list if hasattr(workload, "ti")):
            # The scheduler stored this id when it queued the task. Without this line it would load and lock the task
            # instance to store the same id again.
            if self.event_buffer.get(task.key) == ("queued", task.external_executor_id):
                del self.event_buffer[task.key]

    def _send_workloads_to_celery(self, workload_tuples_to_send: Sequence[Any]) -> list[Any]:
        return celery_publishing.send_until_refused(
            super()._send_workloads_to_celery,
            workload_tuples_to_send,
            lambda: celery_publishing.discard_connections(self.publisher),
        )


def is_task(key: Any) -> bool:  # noqa: ANN401
    """Return whether a key is that of a task instance, whose state can be queried, and not that of a callback."""
    return isinstance(key, TaskInstanceKey)


def sign_messages(link: celery_config.BrokerCredentials) -> None:
    """Sign all messages that this process sends from now on.

    Raises:
        AirflowConfigException: the login has no key.
    """
    if not link.signing_key:
        raise AirflowConfigException("AIRFLEET_CELERY names no file with the key that signs tasks")
    signer = message_signing.Signer.read(link.signing_key)

    def sign(*, body: Any, headers: dict[str, Any], routing_key: str, **_: Any) -> None:  # noqa: ANN401
        # kombu serialises the body later with the same function, so the signature covers the same bytes.
        kind, encoding, text = dumps(body, serializer="json")  # type: ignore[no-untyped-call]
        headers[message_signing.HEADER] = signer.sign(headers, routing_key, kind, encoding, text.encode())

    before_task_publish.connect(sign, weak=False, dispatch_uid="airfleet")
