"""The explanation of a Dag, a Dag run or a task instance, as a pure function of facts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from airfleet_provider.contract import wording
from airfleet_provider.contract.explanation import dag_causes, outcomes, platform_causes, task_causes, words
from airfleet_provider.contract.explanation.facts import DagFacts, Facts, RunFacts, TaskFacts
from airfleet_provider.contract.explanation.model import Cause, CauseSeverity, Code, Explanation, sort

ENDED = ("success", "failed", "upstream_failed", "skipped", "removed")
# In the explanation of a run these follow from others, or are many. They are summed up.
# The figures that name what several tasks of a run wait for together.
PLACES = ("slot_pool", "queue", "breaker", "limit")
CONSEQUENCES = frozenset({Code.TRIGGER_RULE, Code.UPSTREAM_FAILED, Code.RUNS, Code.NEXT_LOOP, Code.EXPANDS})


def explain(facts: Facts) -> Explanation:
    """Return why the subject of the facts does not run, or what is true of it. The Dag must be known.

    Raises:
        ValueError: The facts have no Dag, or not the run or the task of their subject.
    """
    if facts.dag is None:
        raise ValueError("there is no such Dag")
    if facts.subject.run is None:
        return _explain_dag(facts, facts.dag)
    if facts.run is None:
        raise ValueError("there is no such run")
    if facts.subject.task is None:
        return _explain_run(facts, facts.dag, facts.run)
    if not facts.tasks:
        raise ValueError("there is no such task in the run")
    return _explain_task(facts, facts.dag, facts.run)


def list_causes(facts: Facts, dag: DagFacts, run: RunFacts, task: TaskFacts) -> tuple[Cause, ...]:
    """Return the causes of one task instance, the most severe one first."""
    if task.state in ENDED:
        return sort(outcomes.judge_ended(facts, dag, run, task))
    if task.state in ("running", "restarting"):
        return sort(outcomes.judge_running(facts, task))
    if task.state == "awaiting_input":
        what = f"{words.name(task)} waits for the answer of a person."
        advice = "Answer it in Airflow's UI, under Required Actions."
        return (Cause(Code.AWAITING_INPUT, CauseSeverity.HELD, what, since=task.started, advice=advice),)
    return sort(task_causes.judge(facts, dag, run, task))


def _explain_task(facts: Facts, dag: DagFacts, run: RunFacts) -> Explanation:
    if len(facts.tasks) > 1:
        states = Counter(task.state for task in facts.tasks)
        said = ", ".join(f"{count} {state}" for state, count in states.most_common())
        found = merge((task, list_causes(facts, dag, run, task)) for task in facts.tasks)
        name = f"{facts.subject.dag} {facts.subject.task}"
        return _conclude(facts, "mapped", f"{name} has {len(facts.tasks)} instances: {said}.", found)
    (task,) = facts.tasks
    facts = replace(facts, subject=replace(facts.subject, map_index=task.map_index))
    causes = list_causes(facts, dag, run, task)
    since = {
        "scheduled": task.scheduled_at,
        "queued": task.queued_at,
        "running": task.started,
        "deferred": task.trigger_since,
    }.get(task.state, task.ended or task.updated)
    name = f"{dag.dag} {words.name(task)}"
    state = "has had no state" if task.state == "none" else f"has been {task.state}"
    if task.state in ENDED or since is None:
        state = "has no state yet" if task.state == "none" else f"is {task.state}"
    took = f", and took {words.between(task.started, task.ended)}" if task.state == "success" and task.started else ""
    when = f" for {words.between(since, facts.now)}" if since and task.state not in ENDED else ""
    when = f": it ended {words.ago(task.ended, facts.now)}{took}" if task.state in ENDED and task.ended else when
    return replace(_conclude(facts, task.state, f"{name} {state}{when}.", causes), since=since)


def _explain_run(facts: Facts, dag: DagFacts, run: RunFacts) -> Explanation:
    counts = Counter[str]()
    for one in facts.counts:
        counts[one.state] += one.count
    total = sum(counts.values())
    said = ", ".join(
        f"{count} {'without state' if state == 'none' else state}" for state, count in counts.most_common()
    )
    name = f"{dag.dag} {run.run}"
    if run.state == "queued":
        waits = f"{name} has been queued for {words.between(run.queued_at, facts.now)} and has not started."
        causes = (*platform_causes.judge_scheduler(facts), *dag_causes.judge_run_start(facts, dag, run))
        expect = Cause(
            Code.NEXT_LOOP, CauseSeverity.NOTE, "Nothing keeps the run from starting: it starts in the next loop."
        )
        return replace(_conclude(facts, run.state, waits, sort(causes or (expect,))), since=run.queued_at)
    tasks = merge((task, list_causes(facts, dag, run, task)) for task in facts.tasks)
    if run.state == "running":
        since = words.between(run.started, facts.now)
        what = f"{name} has run for {since}: of {wording.count(total, 'task instance')}, {said}."
        own = () if facts.tasks else tuple(dag_causes.judge_run(facts, dag, run))
        return replace(_conclude(facts, run.state, what, sort((*own, *tasks))), since=run.started)
    took = words.between(run.started, run.ended)
    what = f"{name} ended {words.ago(run.ended, facts.now)} with {run.state}, after {took}: {said}."
    return replace(_conclude(facts, run.state, what, sort(tasks)), since=run.ended)


def _explain_dag(facts: Facts, dag: DagFacts) -> Explanation:
    running = [run for run in facts.active_runs if run.state == "running"]
    queued = len(facts.active_runs) - len(running)
    runs = tuple(explain(one) for one in facts.run_facts)
    causes = [*dag_causes.judge_schedule(facts, dag)]
    if any(cause.code is not Code.NOT_DUE for cause in causes) or runs or not causes:
        causes = [*platform_causes.judge_scheduler(facts), *causes]
    if not causes:
        due = f", at {words.at(dag.next_run_after, facts.now)}" if dag.next_run_after else ""
        causes.append(Cause(Code.NEXT_LOOP, CauseSeverity.NOTE, f"A run was due{due}: the next loop creates it."))
    state = "paused" if dag.is_paused else "not live" if dag.is_stale else "active"
    last = facts.last_run
    told = f" The last run, {last.run}, is {last.state}." if last else " It has never run."
    if last and last.state == "failed":
        told += f" `airfleet explain {dag.dag} {last.run}` says why."
    what = (
        f"{dag.dag} is {state}: {wording.count(len(running), 'run')} {words.be(len(running))} running, {queued} queued."
    )
    return replace(_conclude(facts, state, what + told, sort(causes)), runs=runs)


def merge(found: Iterable[tuple[TaskFacts, tuple[Cause, ...]]]) -> tuple[Cause, ...]:
    """Return the causes of many task instances, each once, with the number of instances of which it is true."""
    merged: dict[tuple[object, ...], Cause] = {}
    for task, causes in found:
        for cause in causes:
            place = next((name for key in PLACES if (name := cause.figures.get(key))), None)
            own: object = task.task
            if cause.code in CONSEQUENCES:
                own = cause.figures.get("outcome")
            elif place or cause.code in (Code.PARALLELISM, Code.MAX_ACTIVE_TASKS, Code.SCHEDULER_SILENT):
                own = place
            elif cause.code in (Code.PAUSED, Code.NOT_LIVE, Code.RUN_ENDED, Code.MAX_ACTIVE_RUNS, Code.IMPORT_ERROR):
                own = None
            key = (cause.code, cause.severity, own)
            first = merged.get(key)
            merged[key] = replace(first, count=first.count + 1) if first else cause
    return sort(_sum_up(cause) for cause in merged.values())


def _sum_up(cause: Cause) -> Cause:
    """Return a cause of a whole run. What only waits for other tasks of the run is no root, so it becomes a note."""
    if cause.code is not Code.TRIGGER_RULE or cause.severity is not CauseSeverity.WAITING:
        return cause
    what = f"{wording.count(cause.count, 'task')} wait{'s' * (cause.count == 1)} for the tasks before. {cause.what}"
    return replace(cause, severity=CauseSeverity.NOTE, what=what)


def _conclude(facts: Facts, state: str, what: str, causes: tuple[Cause, ...]) -> Explanation:
    return Explanation(
        facts.subject, facts.now, state, what, sort((*causes, *_list_promises(facts))), unknown=facts.unread
    )


def _list_promises(facts: Facts) -> Iterator[Cause]:
    """Yield the rules of SLAs that are not in order for the subject. They are no cause, but say whom it hurts."""
    for one in facts.promises:
        if facts.subject.run not in (None, one.run) and one.run is not None:
            continue
        if one.task and facts.subject.task not in (None, one.task):
            continue
        reason = f": {one.reason}" if one.reason else ""
        yield Cause(
            Code.PROMISE,
            CauseSeverity.NOTE,
            f"The SLA {one.rule} ({one.kind}) is {one.state}, due at {words.at(one.due, facts.now)}{reason}.",
            since=one.changed,
            until=one.due,
            figures={"rule": one.rule, "kind": one.kind, "state": one.state},
            commands=("airfleet sla list",),
        )
