"""Why a task instance does not start: one function for each of Airflow's states before it runs."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from datetime import datetime, timedelta

from airfleet_provider.contract import wording
from airfleet_provider.contract.explanation import dag_causes, limits, platform_causes, readiness, words
from airfleet_provider.contract.explanation.facts import DagFacts, Facts, RunFacts, TaskFacts
from airfleet_provider.contract.explanation.model import Blocker, Cause, CauseSeverity, Code, Subject
from airfleet_provider.contract.explanation.structure import MAX_RETRY_DELAY_S, TaskSpec
from airfleet_provider.contract.explanation.trigger_rules import NEEDS, TriggerOutcome

SCHEDULABLE = ("none", "up_for_retry", "up_for_reschedule")
MOST_BLOCKERS = 5
# A task instance waits this long in `queued` without being news.
LONG_QUEUED_S = 60.0


def judge(facts: Facts, dag: DagFacts, run: RunFacts, task: TaskFacts) -> Iterator[Cause]:
    """Yield the causes for which a task instance that has not ended does not run."""
    if task.state in SCHEDULABLE:
        held = [*platform_causes.judge_scheduler(facts), *dag_causes.judge_run(facts, dag, run)]
        yield from held
        yield from _judge_unstarted(facts, dag, run, task, is_held=bool(held))
    elif task.state == "scheduled":
        silent = list(platform_causes.judge_scheduler(facts))
        yield from silent
        yield from _judge_scheduled(facts, dag, run, task, is_held=bool(silent))
    elif task.state == "queued":
        yield from _judge_queued(facts, task)
    elif task.state == "deferred":
        yield from _judge_deferred(facts, task)


def _judge_unstarted(facts: Facts, dag: DagFacts, run: RunFacts, task: TaskFacts, *, is_held: bool) -> Iterator[Cause]:
    spec = facts.spec.tasks.get(task.task) if facts.spec else None
    found = False
    for cause in (
        *_judge_upstream(facts, dag, run, task, spec),
        *_judge_past(facts, dag, run, task, spec),
        *_judge_delay(facts, run, task, spec),
    ):
        found = True
        yield cause
    if not found and not is_held:
        yield _expect_loop(task, "the scheduler finds it ready and gives it the state scheduled")


def _expect_loop(task: TaskFacts, what: str) -> Cause:
    return Cause(
        Code.NEXT_LOOP,
        CauseSeverity.NOTE,
        f"Nothing keeps {words.name(task)} from running: in its next loop {what}.",
        since=task.scheduled_at or task.updated,
    )


def _judge_upstream(
    facts: Facts, dag: DagFacts, run: RunFacts, task: TaskFacts, spec: TaskSpec | None
) -> Iterator[Cause]:
    if spec is None or facts.spec is None:
        return
    ready = readiness.judge(facts.spec, facts.counts, spec, task.map_index)
    needs = ready.needs or f"{NEEDS.get(spec.trigger_rule, spec.trigger_rule)} (trigger rule {spec.trigger_rule})"
    if ready.outcome is TriggerOutcome.READY:
        if spec.is_mapped and task.map_index < 0:
            what = f"{task.task} is a mapped task: in its next loop the scheduler makes its instances."
            yield Cause(Code.EXPANDS, CauseSeverity.NOTE, what)
        return
    if ready.outcome is not TriggerOutcome.WAITS:
        state = {TriggerOutcome.SKIPS: "skipped", TriggerOutcome.FAILS: "upstream_failed"}.get(ready.outcome, "removed")
        yield Cause(
            Code.TRIGGER_RULE,
            CauseSeverity.NOTE,
            f"{words.name(task)} will never run: it needs {needs}, and that cannot happen any more. In its next loop "
            f"the scheduler gives it the state {state}.",
            blockers=_block_upstream(dag, run, ready),
            figures={"trigger_rule": spec.trigger_rule, "outcome": ready.outcome.value},
        )
        return
    open_ones = [one for one in ready.counts if one.state not in readiness.ENDED]
    left = sum(one.count for one in open_ones)
    first = min(open_ones, key=lambda one: one.state == "none", default=None)
    yield Cause(
        Code.TRIGGER_RULE,
        CauseSeverity.WAITING,
        f"{words.name(task)} needs {needs}; {wording.count(left, 'upstream task')} {words.be(left)} still to end.",
        blockers=_block_upstream(dag, run, ready),
        unnamed=max(0, len(open_ones) - MOST_BLOCKERS),
        figures={"trigger_rule": spec.trigger_rule, "unfinished": left, "outcome": ready.outcome.value},
        advice="It goes on when these end.",
        commands=(words.explain(Subject(dag.dag, run.run, first.task)),) if first else (),
    )


def _block_upstream(dag: DagFacts, run: RunFacts, ready: readiness.Readiness) -> tuple[Blocker, ...]:
    """Return the upstream tasks, those that run first. Tasks that ended are named only if nothing else is left."""
    open_ones = [one for one in ready.counts if one.state not in readiness.ENDED]
    chosen = sorted(open_ones or ready.counts, key=lambda one: (one.state == "none", one.task))
    return tuple(
        Blocker(
            "task",
            one.task,
            f"{one.count} {one.state}" if one.count > 1 else one.state,
            subject=Subject(dag.dag, run.run, one.task),
        )
        for one in chosen[:MOST_BLOCKERS]
    )


def _judge_past(facts: Facts, dag: DagFacts, run: RunFacts, task: TaskFacts, spec: TaskSpec | None) -> Iterator[Cause]:
    past = facts.past
    if spec is None or not spec.depends_on_past or past is None or run.first_in_backfill:
        return
    own = [one for one in past.counts if one.task == spec.task]
    if not own and spec.ignore_first_depends_on_past and spec.task not in past.prior:
        return
    bad = [one for one in own if one.state not in ("success", "skipped")]
    why = f"{spec.task} did not run in the run before, {past.run}" if not own else ""
    if bad:
        why = f"{spec.task} is {bad[0].state} in the run before, {past.run}"
    if own and not bad and spec.wait_for_downstream:
        below = [one for one in past.counts if one.task in spec.downstream and one.state not in ("success", "skipped")]
        if below:
            why = f"{below[0].task}, which follows it, is {below[0].state} in the run before, {past.run}"
            bad = below
    if not why:
        return
    is_final = any(one.state in ("failed", "upstream_failed") for one in bad)
    blocker = Subject(dag.dag, past.run, bad[0].task if bad else spec.task)
    yield Cause(
        Code.DEPENDS_ON_PAST,
        CauseSeverity.HELD if is_final or not own else CauseSeverity.WAITING,
        f"{spec.task} depends on its past: {why}.",
        blockers=(Blocker("task", blocker.task or "", bad[0].state if bad else "missing", subject=blocker),),
        figures={"previous_run": past.run},
        advice="It goes on when that instance succeeds or is skipped.",
        commands=(words.explain(blocker),),
    )


def _judge_delay(facts: Facts, run: RunFacts, task: TaskFacts, spec: TaskSpec | None) -> Iterator[Cause]:
    if task.state == "up_for_retry":
        until = find_retry(facts.subject.dag, run, task, spec)
        if until and until > facts.now:
            cleared = words.clear(Subject(facts.subject.dag, run.run, task.task), run.logical_date)
            reason = task.retry_reason or facts.errors.get(words.name(task))
            because = f": {reason}" if reason else ""
            yield Cause(
                Code.RETRY_DELAY,
                CauseSeverity.WAITING,
                f"Try {task.try_number} of {task.max_tries + 1} failed {words.ago(task.ended, facts.now)}{because}. "
                f"The next one is at {words.at(until, facts.now)}.",
                since=task.ended,
                until=until,
                figures={"try_number": task.try_number, "tries": task.max_tries + 1},
                advice="The delay is the task's `retry_delay`. Clear it to run it at once.",
                commands=(cleared,) if cleared else (),
            )
    elif task.reschedule_at and task.reschedule_at > facts.now:
        yield Cause(
            Code.RESCHEDULE_DELAY,
            CauseSeverity.WAITING,
            f"{words.name(task)} looked and found nothing yet. It looks again at "
            f"{words.at(task.reschedule_at, facts.now)}.",
            since=task.started,
            until=task.reschedule_at,
            advice="A sensor in reschedule mode frees its slot between its checks.",
        )


def find_retry(dag: str, run: RunFacts, task: TaskFacts, spec: TaskSpec | None) -> datetime | None:
    """Return when the scheduler tries the instance again, as TaskInstance.next_retry_datetime does."""
    if task.ended is None or (spec is None and task.retry_delay_s is None):
        return None
    if task.retry_delay_s is not None:
        return task.ended + timedelta(seconds=task.retry_delay_s)
    assert spec is not None  # noqa: S101 - for the type checker
    delay = spec.retry_delay_s
    if spec.retry_backoff not in (0, 1) and spec.retry_backoff > 0:
        try:
            least = math.ceil(delay * spec.retry_backoff ** (task.try_number - 1))
        except OverflowError:
            least = int(MAX_RETRY_DELAY_S)
        least = max(1, least)
        text = f"{dag}#{task.task}#{run.logical_date}#{task.try_number}"
        number = int(hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), 16)
        delay = min(least + number % least, MAX_RETRY_DELAY_S)
        delay = min(delay, spec.max_retry_delay_s or delay)
    return task.ended + timedelta(seconds=delay)


def _judge_scheduled(facts: Facts, dag: DagFacts, run: RunFacts, task: TaskFacts, *, is_held: bool) -> Iterator[Cause]:
    found = is_held
    for cause in limits.judge(facts, dag, run, task):
        found = True
        yield cause
    if not found and not facts.ahead:
        yield _expect_loop(task, "the scheduler sends it to the executor")
    elif not found or (is_held and facts.ahead):
        yield Cause(
            Code.BEHIND_OTHERS,
            CauseSeverity.WAITING,
            f"{wording.count(facts.ahead or 0, 'task')} of the slot pool {task.pool} come{'s' * (facts.ahead == 1)} "
            f"before {words.name(task)}: they have a higher priority, or an earlier logical date.",
            since=task.scheduled_at,
            figures={"ahead": facts.ahead, "priority_weight": task.priority},
            advice="It is sent to the executor in a later loop. A higher `priority_weight` lets it come earlier.",
            commands=("airfleet top",),
        )


def _judge_queued(facts: Facts, task: TaskFacts) -> Iterator[Cause]:
    causes = list(platform_causes.judge_queue(facts, task))
    yield from causes
    alive = platform_causes.list_alive(facts, platform_causes.SCHEDULER)
    if task.queued_by is not None and all(job.id != task.queued_by for job in alive):
        if alive:
            yield Cause(
                Code.EXECUTOR_LOST,
                CauseSeverity.WAITING,
                f"The scheduler that queued {words.name(task)} (job {task.queued_by}) is gone. Another one adopts "
                "the task or queues it again within 30 s.",
                since=task.queued_at,
                figures={"queued_by_job": task.queued_by},
                commands=("airfleet status", "airfleet logs -n 100 scheduler"),
            )
        else:
            yield from platform_causes.judge_scheduler(facts)
        return
    if causes:
        return
    waiting = sum(one.count for one in facts.platform.activity if one.queue == task.queue and one.state == "queued")
    taker = "a process of the scheduler" if facts.platform.executor == "local" else "a worker"
    is_long = bool(task.queued_at and (facts.now - task.queued_at).total_seconds() > LONG_QUEUED_S)
    yield Cause(
        Code.IN_QUEUE,
        CauseSeverity.WAITING if is_long else CauseSeverity.NOTE,
        f"{words.name(task)} is in the queue {task.queue} since {words.between(task.queued_at, facts.now)}, with "
        f"{wording.count(waiting, 'queued task')}; it starts when {taker} takes it.",
        since=task.queued_at,
        figures={"queue": task.queue, "queued": waiting},
        advice="If no worker is known to be the reason, the host of the worker is the next place to look.",
        commands=("airfleet top", "airfleet status"),
    )


def _judge_deferred(facts: Facts, task: TaskFacts) -> Iterator[Cause]:
    silent = list(platform_causes.judge_triggerer(facts, task))
    yield from silent
    name = (task.trigger_class or "").rpartition(".")[2] or "its trigger"
    until = f", until {words.at(task.trigger_until, facts.now)} at the latest" if task.trigger_until else ""
    taken = "" if task.triggerer is not None or silent else " No triggerer has taken it yet."
    yield Cause(
        Code.DEFERRED,
        CauseSeverity.WAITING,
        f"{words.name(task)} is deferred: it waits for {name} since "
        f"{words.between(task.trigger_since, facts.now)}{until}.{taken}",
        since=task.trigger_since,
        until=task.trigger_until,
        figures={"trigger": task.trigger, "trigger_class": task.trigger_class, "triggerer_job": task.triggerer},
        advice="It goes on when the trigger fires. It takes no slot of a worker meanwhile.",
        commands=("airfleet logs -n 100 triggerer",),
    )
