"""The limits that keep a scheduled task instance from its executor: slot pools, and how much may run at once.

The checks are those of SchedulerJobRunner._executable_task_instances_to_queued, in its order.
"""

from __future__ import annotations

from collections.abc import Iterator

from airfleet_provider.contract import wording
from airfleet_provider.contract.explanation import dag_causes, platform_causes, service_limits, words
from airfleet_provider.contract.explanation.facts import DagFacts, Facts, PoolFacts, RunFacts, SlotHolder, TaskFacts
from airfleet_provider.contract.explanation.model import Blocker, Cause, CauseSeverity, Code, Subject, name_task

MOST_BLOCKERS = 5


def judge(facts: Facts, dag: DagFacts, run: RunFacts, task: TaskFacts) -> Iterator[Cause]:
    """Yield the limits that are reached for a task instance with the state `scheduled`."""
    if run.state != "running":
        yield from dag_causes.judge_run(facts, dag, run)
    yield from dag_causes.judge_pause(facts, dag)
    yield from _judge_breakers(facts, task)
    yield from service_limits.judge(facts, task)
    active = sum(one.count for one in facts.counts if one.state in ("running", "queued"))
    if active >= dag.max_active_tasks:
        holders = [one for one in facts.counts if one.state in ("running", "queued")]
        yield Cause(
            Code.MAX_ACTIVE_TASKS,
            CauseSeverity.WAITING,
            f"`max_active_tasks` of {dag.dag} is reached: {active} of {dag.max_active_tasks} tasks of this run "
            "are queued or running.",
            since=task.scheduled_at,
            blockers=tuple(
                Blocker("task", one.task, f"{one.count} {one.state}", subject=Subject(dag.dag, run.run, one.task))
                for one in holders[:MOST_BLOCKERS]
            ),
            unnamed=max(0, len(holders) - MOST_BLOCKERS),
            figures={"max_active_tasks": dag.max_active_tasks, "active": active},
            advice="It goes on when one of these ends. The limit is an argument of the Dag, and counts for each run.",
            commands=(words.explain(Subject(dag.dag, run.run, holders[0].task)),) if holders else (),
        )
    yield from _judge_rank(facts, dag, run, task)
    yield from _judge_pool(facts, dag, task)
    yield from _judge_concurrency(facts, dag, run, task)
    yield from platform_causes.judge_parallelism(facts)


def _judge_breakers(facts: Facts, task: TaskFacts) -> Iterator[Cause]:
    """Yield the breakers that hide the instance from the scheduler's query (ADR 49)."""
    for one in facts.breakers:
        if one.task != task.task:
            continue
        why = f": {one.reason}." if one.reason else "."
        by = "" if one.actor in ("", "airfleet") else f" {one.actor} opened it."
        next_step = "It stays so until somebody closes it."
        if one.state == "half-open":
            next_step = f"Now {wording.count(one.wave, 'task')} may run, to find out whether the service is back."
        elif one.probe is not None:
            next_step = f"The next task may try at {words.at(one.probe, facts.now)}."
        is_held = one.state == "open" and one.probe is None
        yield Cause(
            Code.BREAKER_OPEN,
            CauseSeverity.HELD if is_held else CauseSeverity.WAITING,
            f"The breaker {one.name} is {one.state}, and has kept tasks for {words.between(one.since, facts.now)}"
            f"{why}{by} "
            f"{wording.count(one.waiting, 'task')} wait{'s' * (one.waiting == 1)}. {next_step}",
            since=one.since,
            until=one.probe,
            figures={"breaker": one.name, "waiting": one.waiting, "wave": one.wave},
            advice="The task holds no slot and loses no try. If the service is back, close the breaker.",
            commands=("airfleet breaker list --events 10", f"airfleet breaker close {one.name} --reason ..."),
        )


def _judge_rank(facts: Facts, dag: DagFacts, run: RunFacts, task: TaskFacts) -> Iterator[Cause]:
    """Yield a cause if the scheduler does not examine the instance, because others of its run come first.

    Of each run, a loop examines as many scheduled instances as `max_active_tasks` says, even if none of them can be
    queued. Only those of slot pools that are full when the loop begins are left out before.
    """
    full = {pool.name for pool in facts.pools.values() if pool.free is not None and pool.free <= 0}
    if task.pool in full:
        return
    own = (-task.priority, task.map_index)
    names = (task.task, task.map_index)
    others = [one for one in facts.rivals if one.pool not in full and (one.task, one.map_index) != names]
    before = [one for one in others if (-one.priority, one.map_index) < own]
    # Which of equals comes first is left to the database.
    beside = [one for one in others if (-one.priority, one.map_index) == own]
    if len(before) + len(beside) < dag.max_active_tasks:
        return
    is_certain = len(before) >= dag.max_active_tasks
    ranked = before if is_certain else [*before, *beside]
    comes = ("comes" if len(ranked) == 1 else "come") if is_certain else "may come"
    subjects = [Subject(dag.dag, run.run, one.task, one.map_index) for one in ranked[:MOST_BLOCKERS]]
    yield Cause(
        Code.BEHIND_ITS_RUN,
        CauseSeverity.WAITING if is_certain else CauseSeverity.NOTE,
        f"{wording.count(len(ranked), 'scheduled task')} of the run {comes} before {words.name(task)}, and a loop "
        f"examines {dag.max_active_tasks} of a run (`max_active_tasks`).",
        since=task.scheduled_at,
        blockers=tuple(Blocker("task", one.task_name, "scheduled", subject=one) for one in subjects),
        unnamed=len(ranked) - len(subjects),
        figures={"max_active_tasks": dag.max_active_tasks, "before": len(ranked), "priority_weight": task.priority},
        advice="If those cannot run, it waits with them. A higher `priority_weight` or a larger limit lets it go.",
        commands=(words.explain(subjects[0]),),
    )


def _judge_pool(facts: Facts, dag: DagFacts, task: TaskFacts) -> Iterator[Cause]:
    pool = facts.pools.get(task.pool)
    if pool is None:
        yield Cause(
            Code.POOL_MISSING,
            CauseSeverity.HELD,
            f"The slot pool {task.pool} of {words.name(task)} does not exist.",
            since=task.scheduled_at,
            blockers=(Blocker("slot_pool", task.pool, "missing"),),
            advice="Name it under `slot_pools` in fleet.yaml, or make it by hand.",
            commands=(words.airflow("pools", "set", task.pool, "16", "made by hand"), "airfleet airflow pools list"),
        )
        return
    if 0 <= pool.slots < task.pool_slots:
        yield Cause(
            Code.POOL_TOO_SMALL,
            CauseSeverity.HELD,
            f"{words.name(task)} takes {wording.count(task.pool_slots, 'slot')}, but the slot pool {pool.name} has "
            f"{pool.slots} in all.",
            since=task.scheduled_at,
            blockers=(Blocker("slot_pool", pool.name, f"{pool.slots} slots"),),
            figures={"slot_pool": pool.name, "slots": pool.slots, "needed": task.pool_slots},
            advice="Give the pool more slots, or the task a smaller `pool_slots`.",
            commands=(words.airflow("pools", "set", pool.name, str(task.pool_slots), "made by hand"),),
        )
    elif pool.free is not None and pool.free < task.pool_slots:
        yield _fill(facts, dag, task, pool, pool.free)


def _fill(facts: Facts, dag: DagFacts, task: TaskFacts, pool: PoolFacts, free: int) -> Cause:
    holders = [one for one in facts.holders if one.pool == pool.name]
    deferred = f", {pool.deferred} of them by deferred tasks" if pool.counts_deferred and pool.deferred else ""
    needs = f" {words.name(task)} takes {task.pool_slots}, and {max(0, free)} are free." if task.pool_slots > 1 else ""
    ahead = f" {wording.count(facts.ahead, 'task')} come{'s' * (facts.ahead == 1)} before it." if facts.ahead else ""
    oldest = holders[0] if holders else None
    see = [words.explain(_find_subject(oldest))] if oldest else []
    return Cause(
        Code.POOL_FULL,
        CauseSeverity.WAITING,
        f"The slot pool {pool.name} is full: {pool.used} of {pool.slots} slots are used{deferred}, and "
        f"{wording.count(pool.waiting, 'task')} wait{'s' * (pool.waiting == 1)}.{needs}{ahead}",
        since=task.scheduled_at,
        blockers=tuple(
            Blocker(
                "task",
                f"{one.dag} {name_task(one.task, one.map_index)}",
                one.state,
                one.since,
                one.hostname or "",
                one.slots,
                _find_subject(one),
            )
            for one in holders
        ),
        unnamed=max(0, pool.used - sum(one.slots for one in holders)),
        figures={
            "slot_pool": pool.name,
            "slots": pool.slots,
            "used": pool.used,
            "waiting": pool.waiting,
            "needed": task.pool_slots,
            "ahead": facts.ahead,
        },
        advice="It goes on when a holder ends. More slots let more tasks run at once.",
        commands=(*see, words.airflow("pools", "set", pool.name, str(2 * max(1, pool.slots)), "more slots")),
    )


def _find_subject(holder: SlotHolder) -> Subject:
    return Subject(holder.dag, holder.run, holder.task, holder.map_index)


def _judge_concurrency(facts: Facts, dag: DagFacts, run: RunFacts, task: TaskFacts) -> Iterator[Cause]:
    spec = facts.spec.tasks.get(task.task) if facts.spec else None
    if spec is None:
        return
    own = [one for one in facts.concurrency if one.task == task.task]
    here = [one for one in own if one.run == run.run]
    for code, name, limit, counted in (
        (Code.TASK_CONCURRENCY, "max_active_tis_per_dag", spec.max_active_per_dag, own),
        (Code.TASK_RUN_CONCURRENCY, "max_active_tis_per_dagrun", spec.max_active_per_run, here),
    ):
        active = sum(one.count for one in counted)
        if limit is None or active < limit:
            continue
        yield Cause(
            code,
            CauseSeverity.WAITING,
            f"`{name}` of {task.task} is reached: {active} of {limit} instances are active"
            f"{' in this run' * (code is Code.TASK_RUN_CONCURRENCY)}.",
            since=task.scheduled_at,
            blockers=tuple(
                Blocker("run", one.run, f"{one.count} active", subject=Subject(dag.dag, one.run, task.task))
                for one in counted[:MOST_BLOCKERS]
            ),
            unnamed=max(0, len(counted) - MOST_BLOCKERS),
            figures={name: limit, "active": active},
            advice="It goes on when one of these ends. The limit is an argument of the task.",
            commands=(words.explain(Subject(dag.dag, counted[0].run, task.task)),),
        )
