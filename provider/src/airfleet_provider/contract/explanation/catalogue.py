"""What each cause means, and the part of Airflow or of airfleet whose rule it is. docs/reference/explanations.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airfleet_provider.contract.explanation.model import Code


@dataclass(frozen=True, slots=True)
class Meaning:
    """When a cause is named, and the first thing to do about it."""

    when: str
    do: str


MEANINGS: Mapping[Code, Meaning] = {
    Code.SCHEDULER_SILENT: Meaning("no scheduler has reported for 30 s", "`airfleet status`"),
    Code.BROKER_SILENT: Meaning("no node of RabbitMQ answers", "`airfleet status`"),
    Code.BROKER_ALARM: Meaning("RabbitMQ accepts no messages: memory, disk or file descriptors", "`airfleet status`"),
    Code.TRIGGERER_SILENT: Meaning("no triggerer has reported for 30 s", "`airfleet status`"),
    Code.QUEUE_UNSERVED: Meaning("no worker takes tasks of the queue", "`airfleet workers list`"),
    Code.WORKERS_DRAINING: Meaning("somebody drained the workers of the queue", "`airfleet workers resume`"),
    Code.WORKERS_FULL: Meaning("all slots of the workers of the queue are busy", "`airfleet top`"),
    Code.IMPORT_ERROR: Meaning("the Dag file does not load", "`airfleet status`"),
    Code.NOT_LIVE: Meaning("the Dag is not in the live release, or in no file", "`airfleet release diff`"),
    Code.PAUSED: Meaning("the Dag is paused", "unpause it"),
    Code.RUN_TYPE_REFUSED: Meaning("the Dag allows no scheduled runs", "trigger it"),
    Code.NO_SCHEDULE: Meaning("the schedule gives no run to come", "trigger it"),
    Code.BACKFILL_PAUSED: Meaning("the backfill of the run is paused", "unpause it in the UI"),
    Code.RUN_ENDED: Meaning("the run has ended, so its tasks do not start", "clear them"),
    Code.TASK_FAILED: Meaning("the task failed and has no tries left", "clear it, after its error"),
    Code.UPSTREAM_FAILED: Meaning("a task before it failed", "explain that task"),
    Code.TASK_SKIPPED: Meaning("the task was skipped", "nothing"),
    Code.TASK_REMOVED: Meaning("the task is not in the version of the Dag that the run has", "nothing"),
    Code.POOL_MISSING: Meaning("the slot pool does not exist", "make it"),
    Code.POOL_TOO_SMALL: Meaning("the task takes more slots than the slot pool has", "make the slot pool larger"),
    Code.BREAKER_OPEN: Meaning("a service that the task needs is away, or a person says so", "`airfleet breaker list`"),
    Code.AWAITING_INPUT: Meaning("the task waits for the answer of a person", "answer it in the UI"),
    Code.DEPENDS_ON_PAST: Meaning("`depends_on_past`, and the previous run did not do the task", "explain that task"),
    Code.TRIGGER_RULE: Meaning("tasks before it have not ended as its trigger rule needs", "explain one of them"),
    Code.MAX_ACTIVE_RUNS: Meaning("as many runs are active as the Dag or its backfill allows", "explain the oldest"),
    Code.LOGICAL_DATE_AHEAD: Meaning("the logical date of the run is in the future", "wait"),
    Code.NOT_DUE: Meaning("the next run, or this one, is due later", "wait, or trigger the Dag"),
    Code.ASSETS_MISSING: Meaning("assets have had no event since the last run", "run what produces them"),
    Code.RETRY_DELAY: Meaning("the task failed and is tried again later", "wait, or clear it"),
    Code.RESCHEDULE_DELAY: Meaning("a sensor looks again later", "wait"),
    Code.DEFERRED: Meaning("the task waits for its trigger", "the log of the triggerer"),
    Code.SERVICE_LIMIT: Meaning("a limit of a service is reached", "`airfleet limit list`"),
    Code.POOL_FULL: Meaning("the slot pool has too few free slots", "explain the oldest holder"),
    Code.MAX_ACTIVE_TASKS: Meaning("`max_active_tasks` of the run is reached", "explain one of its tasks"),
    Code.BEHIND_ITS_RUN: Meaning(
        "of a run, the scheduler examines `max_active_tasks` tasks a loop", "explain the first"
    ),
    Code.TASK_CONCURRENCY: Meaning("`max_active_tis_per_dag` of the task is reached", "explain the other instance"),
    Code.TASK_RUN_CONCURRENCY: Meaning("`max_active_tis_per_dagrun` is reached", "explain the other instance"),
    Code.PARALLELISM: Meaning("`parallelism` of the platform is reached", "`airfleet top`"),
    Code.EXECUTOR_LOST: Meaning("the scheduler that queued the task is gone, and another one works", "wait 30 s"),
    Code.IN_QUEUE: Meaning("the task is in its queue", "`airfleet top`"),
    Code.HEARTBEAT_LATE: Meaning("the running task has not reported for 20 s", "`airfleet status`"),
    Code.BEHIND_OTHERS: Meaning("tasks with a higher priority or an earlier date come first", "`airfleet top`"),
    Code.EXPANDS: Meaning("the mapped task has no instances yet, and gets them in the next loop", "nothing"),
    Code.PROMISE: Meaning("a rule under `slas` is at risk, or late", "`airfleet sla list`"),
    Code.RUNS: Meaning("the task runs", "nothing"),
    Code.RUNS_LONG: Meaning("the task runs longer than 95 % of its last successes", "its log"),
    Code.NEXT_LOOP: Meaning("nothing is in the way: the next loop of the scheduler goes on", "nothing"),
}
