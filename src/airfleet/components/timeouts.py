"""The settings that decide whether work survives an outage of all api-servers, of the broker, or of the database.

They belong together (ADR 13, ADR 16). A task that cannot report waits, and so does a process that cannot start a task.
The scheduler declares a task dead only if the task was silent for the whole time-out while an api-server answered.
"""

from __future__ import annotations

from airfleet.components.model import Setting

# The heartbeat interval of AMQP connections in seconds. A silence of twice this time ends the connection.
HEARTBEAT_S = 10
# Settings of every Celery process. A result that cannot be stored is stored later. A new connection to a broker that
# does not answer fails after 2 s. An open connection to a silent broker, whose host is up, ends after 20 s.
CELERY: dict[str, object] = {
    "broker_connection_timeout": 2,
    # The scheduler retries itself: kombu would first close the connection to a broker that hangs, and wait for it.
    "task_publish_retry": False,
    "broker_heartbeat": HEARTBEAT_S,
    "result_backend_always_retry": True,
    "result_backend_max_sleep_between_retries_ms": 5000,
}


def list_settings() -> tuple[Setting, ...]:
    """Return the settings for every executor."""
    return (
        Setting(
            "workers",
            "execution_api_retries",
            "240",
            "each call waits 20 minutes for an api-server; with the default of 5 it gives up after 10 s, and the task "
            "fails",
        ),
        Setting("workers", "execution_api_retry_wait_max", "10", "work continues 10 s after an outage, not 90 s"),
        Setting("workers", "execution_api_timeout", "15", "a busy machine may answer late without being down"),
        Setting(
            "workers",
            "max_failed_heartbeats",
            "12",
            "a heartbeat fails only after its 240 attempts, so that no task ends itself in an outage",
        ),
        Setting(
            "scheduler",
            "task_instance_heartbeat_timeout",
            "40",
            "a task that died is noticed after 40 s, not 300 s: a heartbeat every 5 s, one that hangs for 15 s, a wait "
            "of 10 s, and 10 s to spare; time in which no task could report does not count",
        ),
        Setting(
            "scheduler",
            "task_instance_heartbeat_timeout_detection_interval",
            "5",
            "the interval of the check for dead tasks; with 10 s, half of them would be noticed later than necessary",
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
            "the token that starts a task is valid for this time; with 600 s, an outage of 10 minutes fails every "
            "queued task",
        ),
        Setting(
            "api_auth",
            "jwt_leeway",
            "60",
            "users stay logged in if the clocks of web hosts differ by a minute; airfleet's execution API has another "
            "rule for the tokens of tasks",
        ),
        Setting(
            "execution_api",
            "jwt_expiration_time",
            "7200",
            "a token is renewed when a fifth of this time is left, so a running task survives 24 minutes without an "
            "api-server, not two",
        ),
    )


def list_broker_settings() -> tuple[Setting, ...]:
    """Return the settings for executors with a broker."""
    return (
        Setting(
            "celery",
            "task_publish_max_retries",
            "1000000",
            "a task that cannot be sent waits for the broker; with the default of 3 it fails after 3 s",
        ),
        Setting(
            "celery",
            "operation_timeout",
            "15",
            "interrupts the sending of a task at any point, so it is the last resort after the time-outs below; with "
            "1 s, a scheduler on a busy machine never sends its first task, as each attempt connects again",
        ),
        Setting(
            "celery_broker_transport_options",
            "confirm_publish",
            "True",
            "the broker confirms each task, so a task that was sent has arrived",
        ),
        Setting(
            "celery_broker_transport_options",
            "read_timeout",
            "5",
            "a client leaves a broker that does not answer for 5 s, and tries the next; the default is to wait",
        ),
        Setting(
            "celery_broker_transport_options",
            "write_timeout",
            "5",
            "a client leaves a broker that accepts no data for 5 s",
        ),
        Setting(
            "celery_broker_transport_options",
            "connect_retries_timeout",
            "10",
            "with the default, a broker that does not answer uses up the time for all others, and none is tried",
        ),
    )
