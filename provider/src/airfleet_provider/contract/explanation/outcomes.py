"""What a task instance that runs or has ended did, and why."""

from __future__ import annotations

from collections.abc import Iterator

from airfleet_provider.contract import wording
from airfleet_provider.contract.explanation import words
from airfleet_provider.contract.explanation.facts import DagFacts, Facts, RunFacts, TaskFacts
from airfleet_provider.contract.explanation.model import Blocker, Cause, CauseSeverity, Code, Subject

# A task reports every 5 s. The scheduler takes it back after 40 s without a report (components/timeouts.py).
LATE_S, TAKEN_BACK_S = 20.0, 40.0
MOST_BLOCKERS = 5
# Events of Airflow's audit log that say why an instance was ended from outside.
TELLING = ("heartbeat timeout", "state mismatch", "stuck in queued reschedule", "stuck in queued tries exceeded")


def judge_running(facts: Facts, task: TaskFacts) -> Iterator[Cause]:
    """Yield what is true of an instance that runs."""
    name, age = words.name(task), None
    if task.heartbeat:
        age = (facts.now - task.heartbeat).total_seconds()
    if age is not None and age > LATE_S:
        yield Cause(
            Code.HEARTBEAT_LATE,
            CauseSeverity.BROKEN,
            f"{name} has not reported for {wording.duration(age)}, from {task.hostname or 'an unknown host'}.",
            since=task.heartbeat,
            figures={"age_s": round(age, 1), "taken_back_after_s": TAKEN_BACK_S},
            advice=f"The scheduler ends it after {TAKEN_BACK_S:.0f} s of silence, and tries again if retries are left. "
            "Time in which no api-server answered does not count.",
            commands=("airfleet status", "airfleet workers list"),
        )
    since = words.between(task.started, facts.now)
    where = f" on {task.hostname}" if task.hostname else ""
    elapsed = (facts.now - task.started).total_seconds() if task.started else 0.0
    is_long = facts.usual_s is not None and elapsed > facts.usual_s
    usual = "" if facts.usual_s is None or is_long else f" Usually it takes up to {wording.duration(facts.usual_s)}."
    yield Cause(
        Code.RUNS,
        CauseSeverity.NOTE,
        f"{name} has run for {since}{where}, try {task.try_number} of {task.max_tries + 1}.{usual}",
        since=task.started,
        figures={"hostname": task.hostname, "pid": task.pid, "try_number": task.try_number, "usual_s": facts.usual_s},
    )
    if facts.usual_s is not None and is_long:
        yield Cause(
            Code.RUNS_LONG,
            CauseSeverity.NOTE,
            f"{name} runs longer than usual: {wording.duration(elapsed)}, and 95 % of its last successes took at most "
            f"{wording.duration(facts.usual_s)}.",
            since=task.started,
            figures={"elapsed_s": round(elapsed, 1), "usual_s": facts.usual_s},
            advice="Its log shows what it does.",
        )


def judge_ended(facts: Facts, dag: DagFacts, run: RunFacts, task: TaskFacts) -> Iterator[Cause]:
    """Yield why an instance ended as it did. A success needs no reason."""
    name = words.name(task)
    clear = (words.airflow("dags", "clear", dag.dag, "--run-id", run.run, "--only-failed"),)
    told = next((one for one in facts.events if one.event in TELLING), None)
    if task.state == "failed":
        error = facts.errors.get(name)
        why = f" {error}" if error else f" {told.event}: {told.text}" if told else ""
        tries = f"try {task.try_number} of {task.max_tries + 1}"
        yield Cause(
            Code.TASK_FAILED,
            CauseSeverity.HELD,
            f"{name} failed {words.ago(task.ended, facts.now)}, {tries}, after "
            f"{words.between(task.started, task.ended)}.{why}",
            since=task.ended,
            figures={"try_number": task.try_number, "tries": task.max_tries + 1, "hostname": task.hostname},
            advice="Clear the failed tasks of the run to run them, and what follows them, again.",
            commands=clear,
        )
    elif task.state == "upstream_failed":
        failed = [one for one in facts.counts if one.state == "failed"]
        yield Cause(
            Code.UPSTREAM_FAILED,
            CauseSeverity.HELD,
            f"{name} did not run, because of what failed before it: "
            f"{words.listing([one.task for one in failed]) or 'a task that ran again since'}.",
            since=task.ended,
            blockers=tuple(
                Blocker("task", one.task, "failed", subject=Subject(dag.dag, run.run, one.task))
                for one in failed[:MOST_BLOCKERS]
            ),
            unnamed=max(0, len(failed) - MOST_BLOCKERS),
            advice="Clear the task that failed: this one runs after it.",
            commands=(words.explain(Subject(dag.dag, run.run, failed[0].task)),) if failed else clear,
        )
    elif task.state == "skipped":
        yield Cause(
            Code.TASK_SKIPPED,
            CauseSeverity.NOTE,
            f"{name} was skipped {words.ago(task.ended, facts.now)}: by its trigger rule, by a branch, or by itself.",
            since=task.ended,
        )
    elif task.state == "removed":
        yield Cause(
            Code.TASK_REMOVED,
            CauseSeverity.NOTE,
            f"{name} is not in the version of the Dag that this run has, so it never runs.",
            since=task.updated,
        )
