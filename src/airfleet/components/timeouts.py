"""The settings that decide whether work outlasts an outage of all api-servers, of the broker, or of the database.

They belong together. A task that cannot report waits, and so does who wants to start one; a task is called dead only
after it was silent for the whole time-out while it could have spoken, which the scheduler checks itself.
"""

from __future__ import annotations

from airfleet.components.model import Setting

# How often a broker and a worker at least say something; twice as long a silence ends their connection.
HEARTBEAT_S = 10
# What every Celery process is told: a result that cannot be stored is stored later; a broker that does not answer a new
# connection is passed over after 2 s, and one that says nothing at all, though its host is there, is left after 20 s.
CELERY: dict[str, object] = {
    "broker_connection_timeout": 2,
    # The scheduler does it itself: kombu says goodbye first to a broker that hangs, and waits for its answer.
    "task_publish_retry": False,
    "broker_heartbeat": HEARTBEAT_S,
    "result_backend_always_retry": True,
    "result_backend_max_sleep_between_retries_ms": 5000,
}


def list_settings() -> tuple[Setting, ...]:
    """Of every executor."""
    return (
        Setting(
            "workers",
            "execution_api_retries",
            "240",
            "each call waits 20 minutes for an api-server; with 5 it gives up after 10 s, and the task has failed",
        ),
        Setting("workers", "execution_api_retry_wait_max", "10", "work goes on 10 s after an outage, not 90 s"),
        Setting("workers", "execution_api_timeout", "15", "a busy machine answers late, and late is not dead"),
        Setting(
            "workers",
            "max_failed_heartbeats",
            "12",
            "a heartbeat fails after its 240 attempts only, so that no task kills itself in an outage",
        ),
        Setting(
            "scheduler",
            "task_instance_heartbeat_timeout",
            "40",
            "a task that died without a word is noticed after 40 s, not 300 s: a report every 5 s, one that hangs for "
            "15 s, a wait of 10 s, and 10 s to spare; time in which no task could report does not count",
        ),
        Setting(
            "scheduler",
            "task_instance_heartbeat_timeout_detection_interval",
            "5",
            "looked for so often; with 10 s half of them would be noticed later than they have to be",
        ),
        Setting(
            "scheduler",
            "orphaned_tasks_check_interval",
            "30",
            "tasks of a scheduler that died are run again after 30 s, not 300 s",
        ),
        Setting(
            "scheduler",
            "task_queued_timeout",
            "3600",
            "the token that starts a task lives so long: with 600 s an outage of 10 minutes fails all that is queued",
        ),
        Setting(
            "api_auth",
            "jwt_leeway",
            "60",
            "users stay logged in when clocks of web hosts differ by a minute; tokens of tasks have a rule of their "
            "own, in airfleet's execution API",
        ),
        Setting(
            "execution_api",
            "jwt_expiration_time",
            "7200",
            "renewed when a fifth is left, so that a running task outlasts 24 minutes without an api-server, not two",
        ),
    )


def list_broker_settings() -> tuple[Setting, ...]:
    """Of executors with a broker."""
    return (
        Setting(
            "celery",
            "task_publish_max_retries",
            "1000000",
            "a task that cannot be sent waits for the broker; with 3 it has failed after 3 s",
        ),
        Setting(
            "celery",
            "operation_timeout",
            "15",
            "interrupts a task's sending wherever it is, and so is the last resort behind the time-outs below; with "
            "1 s a scheduler on a busy machine never gets as far as its first task, as each try connects anew",
        ),
        Setting("celery_broker_transport_options", "confirm_publish", "True", "a task that was sent has arrived"),
        Setting(
            "celery_broker_transport_options",
            "read_timeout",
            "5",
            "a broker that leaves a question unanswered for so long is left for the next; the default is to wait",
        ),
        Setting("celery_broker_transport_options", "write_timeout", "5", "the same of one that takes no more data"),
        Setting(
            "celery_broker_transport_options",
            "connect_retries_timeout",
            "10",
            "with the default a broker that does not answer uses up the time of all others, and none is asked",
        ),
    )
