"""What is wrong with a platform, the worst first, each with the first command to type. A pure function."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from airfleet_provider.contract import wording
from airfleet_provider.contract.alert_list import Alert
from airfleet_provider.contract.alert_schema import Severity
from airfleet_provider.contract.breaker_list import Breaker
from airfleet_provider.contract.breaker_rules import BreakerState
from airfleet_provider.contract.explanation import platform_causes
from airfleet_provider.contract.explanation.facts import Facts, ImportFailure
from airfleet_provider.contract.explanation.model import Subject
from airfleet_provider.contract.overview import Overview
from airfleet_provider.contract.release_list import Deployment
from airfleet_provider.contract.release_schema import AUTOMATIC_ACTOR, DeploymentState

# A queue whose oldest task waits longer than this does not drain.
QUEUE_HEAD_S = 60.0
MOST_FILES = 5
# What else reports to the table `job`, and its name on the command line.
OTHERS = {"TriggererJob": "triggerer", "DagProcessorJob": "dag-processor"}


class Level(StrEnum):
    """How bad a problem is, the worst first."""

    BROKEN = "broken"
    WARNING = "warning"
    NOTE = "note"


_RANK = {level: place for place, level in enumerate(Level)}
_LEVELS = {Severity.CRITICAL: Level.BROKEN, Severity.WARNING: Level.WARNING, Severity.INFO: Level.NOTE}


@dataclass(frozen=True, slots=True)
class HealthProblem:
    """One thing that is wrong. `page` is the Fleet page that shows more of it."""

    level: Level
    what: str
    command: str
    page: str = ""
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class HealthSignals:
    """What the verdict is made from. Only what the user may see is in it."""

    overview: Overview
    alerts: Sequence[Alert] = ()
    failures: Sequence[ImportFailure] = ()
    deployments: Sequence[Deployment] = ()
    breakers: Sequence[Breaker] = ()
    late: int = 0
    at_risk: int = 0


def judge(signals: HealthSignals) -> tuple[HealthProblem, ...]:
    """Return the problems, the worst first."""
    found = [
        *_judge_components(signals.overview),
        *_judge_alerts(signals.alerts),
        *_judge_breakers(signals.breakers),
        *_judge_failures(signals.failures),
        *_judge_promises(signals),
        *_judge_queues(signals.overview),
        *_judge_pools(signals.overview),
        *_judge_release(signals.deployments),
    ]
    return tuple(sorted(found, key=lambda one: _RANK[one.level]))


def conclude(problems: Sequence[HealthProblem]) -> tuple[str, str]:
    """Return the verdict in one word (`well`, `attention` or `broken`), and in a sentence."""
    broken = sum(one.level is Level.BROKEN for one in problems)
    warnings = sum(one.level is Level.WARNING for one in problems)
    if broken:
        return "broken", f"{wording.count(broken, 'thing')} {'is' if broken == 1 else 'are'} broken."
    if warnings:
        return "attention", f"It works, and {wording.count(warnings, 'thing')} need{'s' * (warnings == 1)} attention."
    return "well", "All is well: the scheduler works, and no alert is open."


def _judge_components(overview: Overview) -> Iterator[HealthProblem]:
    facts = Facts(now=overview.now, subject=Subject(""), platform=overview.platform)
    for cause in platform_causes.judge_scheduler(facts):
        yield HealthProblem(Level.BROKEN, f"{cause.what} {cause.advice}", cause.commands[0], since=cause.since)
    for job_type, name in OTHERS.items():
        known = [job for job in overview.platform.jobs if job.job_type == job_type]
        if known and not platform_causes.list_alive(facts, job_type):
            age = wording.duration(known[0].age_s)
            host = known[0].hostname or "an unknown host"
            what = f"No {name} is at work: the last heartbeat was {age} ago, from {host}."
            yield HealthProblem(Level.BROKEN, what, f"airfleet logs -n 100 {name}", since=known[0].heartbeat)


def _judge_alerts(alerts: Sequence[Alert]) -> Iterator[HealthProblem]:
    for one in alerts:
        if one.state == "firing":
            level = _LEVELS[Severity(one.severity)]
            yield HealthProblem(level, f"{one.name}: {one.summary}", "airfleet alerts list", "alerts", one.started_at)


def _judge_breakers(breakers: Sequence[Breaker]) -> Iterator[HealthProblem]:
    for one in breakers:
        if one.state is not BreakerState.CLOSED:
            tasks = f"{wording.count(one.waiting, 'task')} wait{'s' * (one.waiting == 1)}"
            why = f": {one.reason}" if one.reason else ""
            what = f"The breaker {one.name} is {one.state}, and {tasks}{why}"
            yield HealthProblem(Level.WARNING, what, "airfleet breaker list --events 20", "breakers", one.opened_at)


def _judge_failures(failures: Sequence[ImportFailure]) -> Iterator[HealthProblem]:
    for one in failures[:MOST_FILES]:
        what = f"{one.file} does not load: {one.message}"
        yield HealthProblem(Level.WARNING, what, "airfleet airflow dags list-import-errors", since=one.since)
    more = len(failures) - MOST_FILES
    if more > 0:
        what = f"{wording.count(more, 'more Dag file')} do{'es' * (more == 1)} not load."
        yield HealthProblem(Level.WARNING, what, "airfleet airflow dags list-import-errors")


def _judge_promises(signals: HealthSignals) -> Iterator[HealthProblem]:
    if signals.late:
        what = f"{wording.count(signals.late, 'promise')} {'is' if signals.late == 1 else 'are'} late."
        yield HealthProblem(Level.WARNING, what, "airfleet sla list", "slas")
    if signals.at_risk:
        what = f"{wording.count(signals.at_risk, 'promise')} will probably be late."
        yield HealthProblem(Level.NOTE, what, "airfleet sla list", "slas")


def _judge_queues(overview: Overview) -> Iterator[HealthProblem]:
    for one in overview.queues:
        age = (overview.now - one.head).total_seconds() if one.head else 0.0
        if age > QUEUE_HEAD_S:
            tasks = wording.count(one.queued, "task")
            what = f"The oldest of {tasks} in the queue {one.queue} has waited {wording.duration(age)}."
            yield HealthProblem(Level.WARNING, what, "airfleet workers list", "pools", one.head)


def _judge_pools(overview: Overview) -> Iterator[HealthProblem]:
    for one in overview.pools:
        if one.waiting and one.free is not None and one.free <= 0:
            tasks = f"{wording.count(one.waiting, 'task')} wait{'s' * (one.waiting == 1)}"
            what = f"The slot pool {one.name} is full, and {tasks}."
            yield HealthProblem(Level.NOTE, what, "airfleet top", "pools")


def _judge_release(deployments: Sequence[Deployment]) -> Iterator[HealthProblem]:
    """Yield a problem if the last deployment failed, or was taken back by the watch."""
    if not deployments:
        return
    last = deployments[0]
    if last.state == DeploymentState.FAILED:
        what = f"The last deployment failed: {last.verdict or last.detail.get('message') or 'no reason is known'}"
        yield HealthProblem(Level.WARNING, what, "airfleet release show", "releases", last.finished_at)
    elif last.actor == AUTOMATIC_ACTOR and last.action == "rollback":
        what = f"The last release was rolled back: {last.reason or 'no reason is known'}"
        yield HealthProblem(Level.WARNING, what, "airfleet release show", "releases", last.requested_at)
