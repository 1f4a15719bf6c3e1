"""Causes that all Dags share: scheduler, triggerer, broker, queues, workers, parallelism."""

from __future__ import annotations

from collections.abc import Iterator

from airfleet_provider.contract import wording
from airfleet_provider.contract.explanation import words
from airfleet_provider.contract.explanation.facts import Facts, JobFacts, TaskFacts, WorkerState
from airfleet_provider.contract.explanation.model import Blocker, Cause, CauseSeverity, Code

# Seconds without a heartbeat after which Airflow calls a component unhealthy ([scheduler], [triggerer]
# ..._health_check_threshold).
SILENT_S = 30.0
SCHEDULER, TRIGGERER = "SchedulerJob", "TriggererJob"


def list_alive(facts: Facts, job_type: str) -> list[JobFacts]:
    """Return the processes of a type that have reported lately."""
    return [job for job in facts.platform.jobs if job.job_type == job_type and job.age_s <= SILENT_S]


def judge_scheduler(facts: Facts) -> Iterator[Cause]:
    """Yield a cause if no scheduler is at work."""
    if list_alive(facts, SCHEDULER):
        return
    last = next((job for job in facts.platform.jobs if job.job_type == SCHEDULER), None)
    lease = facts.platform.lease
    what = "No scheduler is at work"
    if last:
        host = last.hostname or "an unknown host"
        what += f": the last heartbeat was {wording.duration(last.age_s)} ago, from {host}"
    if lease and not lease.holder:
        what += ", and no scheduler holds the lease"
    candidates = lease.candidates if lease else ()
    yield Cause(
        Code.SCHEDULER_SILENT,
        CauseSeverity.BROKEN,
        f"{what}.",
        since=last.heartbeat if last else None,
        blockers=tuple(Blocker("component", name, state) for name, state in candidates),
        figures={"age_s": last.age_s if last else None},
        advice="Nothing is queued until a scheduler works. Running tasks go on.",
        commands=("airfleet status", "airfleet logs -n 100 scheduler"),
    )


def judge_triggerer(facts: Facts, task: TaskFacts) -> Iterator[Cause]:
    """Yield a cause if nobody runs the trigger of a deferred task instance."""
    alive = list_alive(facts, TRIGGERER)
    if alive:
        return
    yield Cause(
        Code.TRIGGERER_SILENT,
        CauseSeverity.BROKEN,
        f"No triggerer is at work, so the trigger of {words.name(task)} does not run.",
        since=task.trigger_since,
        advice="The trigger goes on when a triggerer works again.",
        commands=("airfleet status", "airfleet logs -n 100 triggerer"),
    )


def judge_parallelism(facts: Facts) -> Iterator[Cause]:
    """Yield a cause if the executor has as many task instances as one scheduler may give it."""
    most, occupied = facts.platform.parallelism, facts.platform.occupied
    schedulers = max(1, len(list_alive(facts, SCHEDULER)))
    if most is None or occupied < most * schedulers:
        return
    yield Cause(
        Code.PARALLELISM,
        CauseSeverity.WAITING,
        f"The platform runs as many tasks as it may: {occupied} are queued or running, and `parallelism` is {most}.",
        figures={"parallelism": most, "occupied": occupied, "schedulers": schedulers},
        advice="It goes on when a task ends. `parallelism` in fleet.yaml is the limit of all tasks together.",
        commands=("airfleet top", "airfleet status"),
    )


def judge_queue(facts: Facts, task: TaskFacts) -> Iterator[Cause]:
    """Yield the causes for which a task instance stays in its queue."""
    if facts.platform.executor == "celery":
        yield from _judge_broker(facts)
        yield from _judge_workers(facts, task)


def _judge_broker(facts: Facts) -> Iterator[Cause]:
    broker = facts.platform.broker
    if broker is None:
        return
    if not broker.answers:
        yield Cause(
            Code.BROKER_SILENT,
            CauseSeverity.BROKEN,
            f"RabbitMQ does not answer: {broker.why}.",
            advice="Tasks wait, and none is lost: the scheduler sends them again.",
            commands=("airfleet status", "airfleet logs -n 100 rabbitmq"),
        )
    for alarm in broker.alarms:
        yield Cause(
            Code.BROKER_ALARM,
            CauseSeverity.BROKEN,
            f"RabbitMQ has an alarm and accepts no messages: {alarm}.",
            advice="Free memory or disk on the broker's host. The alarm ends by itself then.",
            commands=("airfleet status", "airfleet logs -n 100 rabbitmq"),
        )


def _judge_workers(facts: Facts, task: TaskFacts) -> Iterator[Cause]:
    workers = facts.platform.workers
    if workers is None:
        return
    own = [worker for worker in workers if task.queue in worker.queues]
    serving = [worker for worker in own if worker.state == "serving"]
    figures = {"queue": task.queue, "workers": len(own), "serving": len(serving)}
    consumers = facts.platform.broker.consumers if facts.platform.broker else {}
    if serving and consumers.get(task.queue) == 0:
        yield Cause(
            Code.QUEUE_UNSERVED,
            CauseSeverity.BROKEN,
            f"RabbitMQ knows no reader of the queue {task.queue}, though {_list(serving)} {words.be(len(serving))} up.",
            since=task.queued_at,
            blockers=_block(serving),
            figures=figures,
            advice="A worker that lost its broker connects again within 20 s.",
            commands=("airfleet status", "airfleet workers list"),
        )
        return
    if serving:
        yield from _judge_slots(facts, task, serving)
        return
    leaving = [worker for worker in own if worker.state in ("draining", "drained")]
    if leaving:
        yield Cause(
            Code.WORKERS_DRAINING,
            CauseSeverity.HELD,
            f"No worker takes tasks of the queue {task.queue}: {_list(leaving)} {words.be(len(leaving))} drained.",
            since=task.queued_at,
            blockers=_block(own),
            figures=figures,
            advice="Somebody took the worker out of service.",
            commands=(words.command("airfleet", "workers", "resume", leaving[0].name), "airfleet workers list"),
        )
        return
    what = f"{_list(own)} {words.be(len(own))} {own[0].state}" if own else "no pool in fleet.yaml serves this queue"
    hosts = sorted({worker.name.partition("@")[0] for worker in own})
    logs = (
        (words.command("airfleet", "logs", "-n", "100", f"worker-{hosts[0]}" if hosts[0] else "worker"),) if own else ()
    )
    yield Cause(
        Code.QUEUE_UNSERVED,
        CauseSeverity.BROKEN if own else CauseSeverity.HELD,
        f"No worker serves the queue {task.queue}: {what}.",
        since=task.queued_at,
        blockers=_block(own),
        figures=figures,
        advice="The task starts when a worker serves its queue."
        if own
        else "Give a pool this queue, or change `queue=`.",
        commands=("airfleet workers list", *logs),
    )


def _judge_slots(facts: Facts, task: TaskFacts, serving: list[WorkerState]) -> Iterator[Cause]:
    slots, running = sum(worker.slots for worker in serving), sum(worker.running for worker in serving)
    if running < slots:
        return
    waiting = sum(one.count for one in facts.platform.activity if one.queue == task.queue and one.state == "queued")
    yield Cause(
        Code.WORKERS_FULL,
        CauseSeverity.WAITING,
        f"All workers of the queue {task.queue} are busy: {running} of {slots} slots run tasks, "
        f"and {wording.count(waiting, 'task')} wait{'s' if waiting == 1 else ''}.",
        since=task.queued_at,
        blockers=_block(serving),
        figures={"queue": task.queue, "slots": slots, "running": running, "waiting": waiting},
        advice="It goes on when a task ends. More hosts or a larger `concurrency` of the pool let more tasks run.",
        commands=("airfleet top", "airfleet workers list"),
    )


def _list(workers: list[WorkerState]) -> str:
    return words.listing([worker.name for worker in workers])


def _block(workers: list[WorkerState]) -> tuple[Blocker, ...]:
    return tuple(
        Blocker("worker", worker.name, worker.state, where=worker.why, slots=worker.slots) for worker in workers
    )
