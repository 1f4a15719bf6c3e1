"""How an instance stands: what has fulfilled it, what is expected, and what stands in its way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from airfleet_provider.contract.sla_rules import PromiseKind, SlaRule
from airfleet_provider.slas import prediction
from airfleet_provider.slas.instances import Instance
from airfleet_provider.slas.observations import BACKFILL, MANUAL, Asset, Observations, ObservedDag, ObservedRun
from airfleet_provider.slas.prediction import Prediction

SCHEDULED = "scheduled"


@dataclass(frozen=True, slots=True)
class Outlook:
    """How an instance stands now.

    `run_id` is the run that the instance waits for, where the instance began before the run did.
    `problem` says that it will not be fulfilled unless somebody acts. `is_gone` means that nobody owes it any more,
    because its run or its Dag no longer exists. `closes_at` is when a late instance counts as missed; what fulfils it
    after that does not count.
    """

    fulfilled_at: datetime | None = None
    run_id: str | None = None
    expected: Prediction | None = None
    problem: str = ""
    reason: str = ""
    is_gone: bool = False
    closes_at: datetime | None = None


GONE = Outlook(is_gone=True)


def look(rule: SlaRule, instance: Instance, seen: Observations, now: datetime) -> Outlook:
    """Return how an open instance stands."""
    return _LOOKS[rule.kind](rule, instance, seen, now)


def _look_at_day(rule: SlaRule, instance: Instance, seen: Observations, now: datetime) -> Outlook:
    dag = seen.dags.get(instance.key.subject.dag_id)
    if dag is None:
        return GONE
    task_id = instance.key.subject.task_id
    closes_at = _find_close(rule, instance)
    runs = [
        run
        for run in seen.runs_of(dag.dag_id)
        if run.run_type != BACKFILL and instance.starts_at <= run.run_after < closes_at
    ]
    # The last scheduled run before the deadline must succeed. A later run, such as one that a person started to repair
    # the failed one, counts too. An earlier run does not.
    scheduled = [run.run_after for run in runs if run.run_type != MANUAL and run.run_after < instance.due_at]
    newest = max(scheduled, default=instance.starts_at)
    runs = [run for run in runs if run.run_after >= newest]
    next_run = dag.next_run if not dag.is_paused and dag.next_run and dag.next_run < instance.due_at else None
    ends = [end for run in runs if (end := _find_success(run, task_id))]
    if ends and not next_run:
        return Outlook(fulfilled_at=min(ends), closes_at=closes_at)
    profile = seen.profiles.get(dag.dag_id)
    if next_run:
        if next_run > now:
            return Outlook(reason=f"the next run is at {_clock(next_run)}", closes_at=closes_at)
        return Outlook(expected=_after(profile, task_id, now), reason=_explain_no_run(dag, now), closes_at=closes_at)
    active = [run for run in runs if not run.is_ended]
    if active:
        run = max(active, key=lambda one: one.run_after)
        return Outlook(expected=_predict(run, task_id, seen, now), reason=_describe(run), closes_at=closes_at)
    if runs:
        failed = max(runs, key=lambda one: one.run_after)
        what = f"the task {task_id} did not succeed in the run" if task_id else "the last run failed:"
        return Outlook(problem=f"{what} {failed.run_id}", closes_at=closes_at)
    return Outlook(expected=_after(profile, task_id, now), reason=_explain_no_run(dag, now), closes_at=closes_at)


def _look_at_length(rule: SlaRule, instance: Instance, seen: Observations, now: datetime) -> Outlook:
    task_id, run = instance.key.subject.task_id, _find_run(instance, seen)
    if run is None:
        return GONE
    task = (run.tasks or {}).get(task_id)
    if task_id and task and task.is_ended and task.ended_at:
        return Outlook(fulfilled_at=task.ended_at)
    if run.is_ended:
        return Outlook(fulfilled_at=run.ended_at or now)
    return Outlook(expected=_predict(run, task_id, seen, now), reason=_describe(run))


def _look_at_start(rule: SlaRule, instance: Instance, seen: Observations, now: datetime) -> Outlook:
    subject, run = instance.key.subject, _find_run(instance, seen)
    if subject.task_id:
        task = (run.tasks or {}).get(subject.task_id) if run else None
        if run is None or task is None:
            return GONE
        if task.started_at:
            return Outlook(fulfilled_at=task.started_at)
        if task.is_ended or run.is_ended:
            return GONE  # it was skipped or failed before it started
        return Outlook(reason=f"{_describe(run)}; the task waits since {_clock(instance.starts_at)}")
    dag = seen.dags.get(subject.dag_id)
    if run is None:
        if dag is None or dag.next_run != instance.starts_at:
            return GONE
        return Outlook(reason=_explain_no_run(dag, now))
    if run.first_start or run.is_ended:
        return Outlook(fulfilled_at=run.first_start or run.started_at or run.ended_at or now)
    what = "no task has started" if run.started_at else "waits for the end of other runs"
    return Outlook(reason=f"the run {run.run_id} is {run.state}: {what}", run_id=run.run_id)


def _look_at_asset(rule: SlaRule, instance: Instance, seen: Observations, now: datetime) -> Outlook:
    asset = seen.assets.get(instance.key.subject.asset)
    if asset is None:
        return GONE
    closes_at = _find_close(rule, instance)
    made = [made for made, due in asset.updates if instance.starts_at <= due and made < closes_at]
    if made:
        return Outlook(fulfilled_at=min(made), closes_at=closes_at)
    expected, reason = _predict_update(asset, instance, seen, now)
    return Outlook(expected=expected, reason=reason, closes_at=closes_at)


def _look_at_pause(rule: SlaRule, instance: Instance, seen: Observations, now: datetime) -> Outlook:
    subject = instance.key.subject
    dag = seen.dags.get(subject.dag_id)
    if dag is None:
        return GONE
    ends = [end for end in seen.successes.get((subject.dag_id, subject.task_id), ()) if end > instance.starts_at]
    # Each period without a success is an instance of its own.
    closes_at = instance.due_at + timedelta(seconds=rule.limit_s or 0)
    if ends:
        return Outlook(fulfilled_at=min(ends), closes_at=closes_at)
    active = [run for run in seen.runs_of(dag.dag_id) if not run.is_ended and run.run_type != BACKFILL]
    if active:
        run = min(active, key=lambda one: one.run_after)
        return Outlook(expected=_predict(run, subject.task_id, seen, now), reason=_describe(run), closes_at=closes_at)
    return Outlook(reason=_explain_no_run(dag, now), closes_at=closes_at)


_LOOKS: Mapping[PromiseKind, Callable[[SlaRule, Instance, Observations, datetime], Outlook]] = {
    PromiseKind.FINISHED_BY: _look_at_day,
    PromiseKind.NO_LONGER_THAN: _look_at_length,
    PromiseKind.STARTS_WITHIN: _look_at_start,
    PromiseKind.FRESH_BY: _look_at_asset,
    PromiseKind.MUST_RUN: _look_at_pause,
}


def _find_close(rule: SlaRule, instance: Instance) -> datetime:
    return rule.find_due(rule.calendar.find_day(instance.due_at) + timedelta(days=1))


def _find_run(instance: Instance, seen: Observations) -> ObservedRun | None:
    if instance.run_id:
        return seen.runs.get((instance.key.subject.dag_id, instance.run_id))
    due = instance.starts_at
    runs: Iterable[ObservedRun] = seen.runs_of(instance.key.subject.dag_id)
    return next((run for run in runs if run.run_type == SCHEDULED and run.run_after == due), None)


def _find_success(run: ObservedRun, task_id: str) -> datetime | None:
    if not task_id:
        return run.ended_at if run.state == "success" else None
    task = (run.tasks or {}).get(task_id)
    return task.ended_at if task and task.has_succeeded else None


def _predict(run: ObservedRun, task_id: str, seen: Observations, now: datetime) -> Prediction | None:
    profile = seen.profiles.get(run.dag_id)
    if profile is None or run.tasks is None:
        return None
    if task_id:
        return prediction.predict_task_end(
            task_id, run.spans.get(task_id), profile, run_started_at=run.started_at, now=now
        )
    return prediction.predict_end(run.spans, profile, now=now)


def _after(profile: prediction.Profile | None, task_id: str, now: datetime) -> Prediction | None:
    """Return the expected end of a run that begins now."""
    if profile is None:
        return None
    if task_id:
        return prediction.predict_task_end(task_id, None, profile, run_started_at=now, now=now)
    return prediction.predict_end({}, profile, now=now)


def _predict_update(
    asset: Asset, instance: Instance, seen: Observations, now: datetime
) -> tuple[Prediction | None, str]:
    found: list[tuple[Prediction, str]] = []
    for dag_id, task_id in sorted(asset.producers):
        for run in seen.runs_of(dag_id):
            if run.is_ended or run.run_after < instance.starts_at:
                continue
            expected = _predict(run, task_id, seen, now)
            if expected:
                found.append((expected, _describe(run)))
    if found:
        return min(found, key=lambda one: one[0].ends_at)
    dags = [seen.dags[dag_id] for dag_id, _ in sorted(asset.producers) if dag_id in seen.dags]
    paused = [dag.dag_id for dag in dags if dag.is_paused]
    return None, f"its Dag {paused[0]} is paused" if paused else "no update yet"


def _describe(run: ObservedRun) -> str:
    """Return where a run stands, without a duration: the text changes only when the run does."""
    running = sorted(
        (task.started_at, name) for name, task in (run.tasks or {}).items() if task.started_at and not task.is_ended
    )
    if running:
        started_at, name = running[0]
        return f"{name} runs since {_clock(started_at)} in {run.run_id}"
    return f"{run.run_id} is {run.state}"


def _explain_no_run(dag: ObservedDag, now: datetime) -> str:
    if dag.is_paused:
        return "no run: the Dag is paused"
    if dag.has_import_errors:
        return "no run: its file does not load"
    if dag.is_stale:
        return "no run: no file makes this Dag any more"
    if dag.next_run is None:
        return "no run yet"
    if dag.next_run > now:
        return f"the next run is at {_clock(dag.next_run)}"
    return f"no run: the scheduler has not made the run of {_clock(dag.next_run)}"


def _clock(moment: datetime) -> str:
    return f"{moment:%H:%M} UTC"
