"""The SLA engine: from rules, observations and instances to the transitions of the instances. It is a pure function.

An instance is due, perhaps at risk, perhaps late, and ends once, as met or missed. It is at risk when its expected end
is after its deadline, or when nothing but a person can fulfil it. It is late from the deadline on. A late instance is
missed when it is fulfilled at last, or when the time in which it can be fulfilled is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from airfleet_provider.contract.sla_rules import DAILY, ENDED, PromiseKind, PromiseState, SlaRule
from airfleet_provider.slas.instances import Instance, InstanceKey, PromiseSubject, Transition
from airfleet_provider.slas.observations import BACKFILL, Observations, ObservedDag, ObservedRun
from airfleet_provider.slas.outlooks import SCHEDULED, Outlook, look

# The end of a run becomes visible a moment after it. Until then, an instance is not late.
SETTLE = timedelta(seconds=3)
# An instance that is at risk stays at risk for so long, and until its expected end is earlier than the deadline by the
# larger of so many seconds and of a tenth of the time that is left: a prediction that wavers changes nothing.
CALM = timedelta(minutes=10)
LEAST_MARGIN = timedelta(minutes=1)
MARGIN_SHARE = 0.1
# An expected end that moves by less is not written.
MOVED = timedelta(minutes=1)
# Deadlines that passed longer ago than this, while no engine ran, are not evaluated.
LOOK_BACK = timedelta(days=1)
# What happened so long before the evaluation before may have become visible after it.
OVERLAP = timedelta(minutes=2)
LONG_AGO = datetime.min.replace(tzinfo=UTC)
# A promise of a short period is not evaluated for more periods than this at once.
MOST_PERIODS = 100


def evaluate(
    rules: Sequence[SlaRule], seen: Observations, instances: Iterable[Instance], now: datetime
) -> tuple[Transition, ...]:
    """Return the transitions that these observations make.

    `instances` has every instance that is open or alerting, that ended less than twice OVERLAP ago, or that is daily
    and has a deadline after `now` - LOOK_BACK. A second call, with the instances that the transitions of the first
    made, returns no transition.
    """
    before = {one.key: one for one in instances}
    by_name = {(rule.name, rule.kind): rule for rule in rules}
    after: dict[InstanceKey, Instance | None] = dict(before)
    for key, one in before.items():
        # A rule that was changed is another promise: what was promised before is not owed any more.
        if one.state not in ENDED and one.changed_at < seen.rules_since.get(key.promise[:2], LONG_AGO):
            after[key] = _withdraw(one, now)
    promises = {key.promise for key, one in after.items() if one and one.state not in ENDED}
    for rule in rules:
        for opened in list_opened(rule, seen, now):
            if opened.key in seen.closed:
                continue
            # A promise that must be kept again and again has one open instance at a time.
            if rule.kind is not PromiseKind.MUST_RUN or opened.key.promise not in promises:
                after[opened.key] = after.get(opened.key) or opened
    for key, instance in list(after.items()):
        owed = by_name.get((key.rule, key.kind))
        if instance is None:
            continue
        if owed is None:
            after[key] = _withdraw(instance, now)
        elif instance.state not in ENDED:
            after.update(_advance(owed, instance, seen, now))
    _heal(before, after)
    _relieve(after)
    _let_go(after, seen)
    changed = [Transition(before.get(key), instance) for key, instance in after.items() if before.get(key) != instance]
    return tuple(sorted(changed, key=lambda one: one.key))


def _is_present(subject: PromiseSubject, seen: Observations) -> bool:
    """Return whether Airflow knows the asset or the Dag, and the Dag has not left the live release."""
    if subject.asset:
        return subject.asset in seen.assets
    return subject.dag_id in seen.dags and not seen.dags[subject.dag_id].is_stale


def list_subjects(rule: SlaRule, seen: Observations) -> Iterator[PromiseSubject]:
    """Yield what a rule is about."""
    for asset in seen.assets.values():
        if rule.matches_asset(asset.name, asset.uri):
            yield PromiseSubject(asset=asset.name)
    for dag in seen.dags.values():
        if rule.matches_dag(dag.dag_id, dag.tags, dag.owners):
            yield from _list_subjects_of(rule, dag)


def _list_subjects_of(rule: SlaRule, dag: ObservedDag) -> Iterator[PromiseSubject]:
    if rule.task is None:
        yield PromiseSubject(dag.dag_id)
        return
    for task_id in sorted(dag.tasks):
        if rule.matches_task(task_id):
            yield PromiseSubject(dag.dag_id, task_id)


def list_opened(rule: SlaRule, seen: Observations, now: datetime) -> Iterator[Instance]:
    """Yield the instances that a rule begins, also those that it began before."""
    evaluated_at = (seen.evaluated_at or now) - OVERLAP
    since = max(seen.rules_since.get((rule.name, rule.kind), now), evaluated_at, now - LOOK_BACK)
    days = _list_days(rule, since, now) if rule.kind in DAILY else []
    for subject in list_subjects(rule, seen):
        dag = seen.dags.get(subject.dag_id)
        if dag is not None and dag.is_stale:
            continue
        match rule.kind:
            case PromiseKind.FINISHED_BY | PromiseKind.FRESH_BY:
                for day, start, due in days:
                    # A Dag that appeared after the start of a day could not keep its promise.
                    if dag is None or dag.known_since is None or dag.known_since <= start:
                        yield _make(rule, subject, day, start, due, now)
            case PromiseKind.NO_LONGER_THAN:
                yield from _open_lengths(rule, subject, seen, since, now)
            case PromiseKind.STARTS_WITHIN:
                yield from _open_starts(rule, subject, seen, since, now)
            case PromiseKind.MUST_RUN:
                yield _make_period(rule, subject, now, now)


def _list_days(rule: SlaRule, since: datetime, now: datetime) -> list[tuple[str, datetime, datetime]]:
    """Return the days that have begun and whose deadline is after `since`: each day, its start and its deadline."""
    first, last = rule.calendar.find_day(since), rule.calendar.find_day(now) + timedelta(days=1)
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    found = [(day.isoformat(), rule.find_start(day), rule.find_due(day)) for day in days if rule.calendar.applies(day)]
    return [(day, start, due) for day, start, due in found if start <= now and due > since]


def _open_lengths(
    rule: SlaRule, subject: PromiseSubject, seen: Observations, since: datetime, now: datetime
) -> Iterator[Instance]:
    for run in _list_runs(seen, subject.dag_id):
        started, ended = run.started_at, run.ended_at
        if subject.task_id:
            task = (run.tasks or {}).get(subject.task_id)
            started, ended = (task.started_at, task.ended_at if task.is_ended else None) if task else (None, None)
        if started is None or (ended is not None and ended <= since):
            continue
        yield _make(rule, subject, run.run_id, started, started + _limit(rule), now, run.run_id)


def _open_starts(
    rule: SlaRule, subject: PromiseSubject, seen: Observations, since: datetime, now: datetime
) -> Iterator[Instance]:
    for run in _list_runs(seen, subject.dag_id):
        occasion, start = run.run_id, run.run_after
        if subject.task_id:
            task = (run.tasks or {}).get(subject.task_id)
            if task is None or task.ready_at is None:
                continue
            start = task.ready_at
        elif run.run_type == SCHEDULED:
            occasion = run.run_after.isoformat()
        if start <= now and start + _limit(rule) > since:
            run_id = None if occasion != run.run_id else run.run_id
            yield _make(rule, subject, occasion, start, start + _limit(rule), now, run_id)
    dag = seen.dags[subject.dag_id]
    due = dag.next_run
    if not subject.task_id and due is not None and not dag.is_paused and since < due + _limit(rule) and due <= now:
        yield _make(rule, subject, due.isoformat(), due, due + _limit(rule), now)


def _list_runs(seen: Observations, dag_id: str) -> Iterator[ObservedRun]:
    return (run for run in seen.runs_of(dag_id) if run.run_type != BACKFILL)


def _limit(rule: SlaRule) -> timedelta:
    return timedelta(seconds=rule.limit_s or 0)


def _make(
    rule: SlaRule,
    subject: PromiseSubject,
    occasion: str,
    start: datetime,
    due: datetime,
    now: datetime,
    run_id: str | None = None,
) -> Instance:
    return Instance(InstanceKey(rule.name, rule.kind, subject, occasion), PromiseState.DUE, start, due, now, run_id)


def _make_period(rule: SlaRule, subject: PromiseSubject, start: datetime, now: datetime) -> Instance:
    return _make(rule, subject, start.isoformat(), start, start + _limit(rule), now)


def _advance(
    rule: SlaRule, instance: Instance, seen: Observations, now: datetime
) -> dict[InstanceKey, Instance | None]:
    """Return an open instance as it is now, and the periods that follow it."""
    found: dict[InstanceKey, Instance | None] = {}
    for _ in range(MOST_PERIODS):
        moved = _move(rule, instance, look(rule, instance, seen, now), now)
        found[instance.key] = moved
        if rule.kind is not PromiseKind.MUST_RUN or moved is None or moved.state not in ENDED:
            break
        if not _is_present(instance.key.subject, seen):
            break
        instance = _make_period(rule, instance.key.subject, moved.fulfilled_at or moved.due_at, now)
        found[instance.key] = instance
    return found


def _move(rule: SlaRule, instance: Instance, outlook: Outlook, now: datetime) -> Instance | None:
    if outlook.is_gone:
        return _withdraw(instance, now)
    is_closed = outlook.closes_at is not None and now >= outlook.closes_at
    if outlook.fulfilled_at is not None and (outlook.closes_at is None or outlook.fulfilled_at <= outlook.closes_at):
        state = PromiseState.MET if outlook.fulfilled_at <= instance.due_at else PromiseState.MISSED
        return _end(instance, state, now, fulfilled_at=outlook.fulfilled_at)
    if is_closed:
        reason = outlook.problem or outlook.reason
        return replace(_end(instance, PromiseState.MISSED, now), is_alerting=True, reason=reason)
    state = _judge(instance, outlook, now)
    if state is not instance.state:
        instance = replace(instance, state=state, changed_at=now, is_alerting=state is not PromiseState.DUE)
    return _note(instance, outlook)


def _judge(instance: Instance, outlook: Outlook, now: datetime) -> PromiseState:
    """Return the state of an instance that is not fulfilled."""
    if instance.state is PromiseState.LATE or now > instance.due_at + SETTLE:
        return PromiseState.LATE
    expected = outlook.expected.ends_at if outlook.expected else None
    if outlook.problem or (expected is not None and expected > instance.due_at):
        return PromiseState.AT_RISK
    if instance.state is not PromiseState.AT_RISK:
        return PromiseState.DUE
    margin = max(LEAST_MARGIN, (expected - now) * MARGIN_SHARE) if expected else LEAST_MARGIN
    is_safe = expected is None or expected + margin <= instance.due_at
    return PromiseState.DUE if is_safe and now - instance.changed_at >= CALM else PromiseState.AT_RISK


def _note(instance: Instance, outlook: Outlook) -> Instance:
    """Return the instance with its expected end and its reason; what has hardly changed stays as it was."""
    expected = outlook.expected.ends_at if outlook.expected else None
    task_id = outlook.expected.task_id if outlook.expected else None
    reason = outlook.problem or outlook.reason
    if task_id and task_id not in reason:
        reason = f"{reason}; {task_id} is next"
    old = instance.expected_at
    if old is not None and expected is not None and abs(expected - old) < MOVED:
        expected = old
    return replace(instance, expected_at=expected, reason=reason, run_id=instance.run_id or outlook.run_id)


def _end(instance: Instance, state: PromiseState, now: datetime, fulfilled_at: datetime | None = None) -> Instance:
    return replace(
        instance,
        state=state,
        changed_at=now,
        ended_at=now,
        fulfilled_at=fulfilled_at,
        expected_at=None,
        reason="",
        is_alerting=False,
    )


def _withdraw(instance: Instance, now: datetime) -> Instance | None:
    """Return what remains of an instance that nobody owes any more: a late one was missed, any other never was."""
    if instance.state in ENDED:
        return replace(instance, is_alerting=False)
    return _end(instance, PromiseState.MISSED, now) if instance.state is PromiseState.LATE else None


def _heal(before: Mapping[InstanceKey, Instance], after: dict[InstanceKey, Instance | None]) -> None:
    """Let missed instances of a promise alert no more once the promise is fulfilled on a later occasion."""
    fulfilled: dict[tuple[str, PromiseKind, PromiseSubject], datetime] = {}
    for key, instance in after.items():
        if instance and instance.fulfilled_at and before.get(key) != instance:
            fulfilled[key.promise] = max(instance.due_at, fulfilled.get(key.promise, instance.due_at))
    for key, instance in after.items():
        healed = fulfilled.get(key.promise)
        if instance and instance.is_alerting and instance.state in ENDED and healed and healed > instance.due_at:
            after[key] = replace(instance, is_alerting=False)


def _relieve(after: dict[InstanceKey, Instance | None]) -> None:
    """Let only the last of the missed instances of a promise alert, so that what is read each time does not grow."""
    missed = [one for one in after.values() if one and one.is_alerting and one.state in ENDED]
    last = {one.key.promise: one.key for one in sorted(missed, key=lambda one: one.due_at)}
    for one in missed:
        if last[one.key.promise] != one.key:
            after[one.key] = replace(one, is_alerting=False)


def _let_go(after: dict[InstanceKey, Instance | None], seen: Observations) -> None:
    """Let no missed instance alert whose Dag or asset is gone: nothing could ever fulfil a later one."""
    for key, instance in after.items():
        if instance and instance.is_alerting and instance.state in ENDED and not _is_present(key.subject, seen):
            after[key] = replace(instance, is_alerting=False)
