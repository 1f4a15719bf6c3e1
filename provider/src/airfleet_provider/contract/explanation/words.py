"""Words and commands of explanations."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from datetime import datetime, timedelta

from airfleet_provider.contract import wording
from airfleet_provider.contract.explanation.facts import TaskFacts
from airfleet_provider.contract.explanation.model import Subject, name_task


def name(task: TaskFacts) -> str:
    """Return the name of a task instance within its run."""
    return name_task(task.task, task.map_index)


def be(number: int) -> str:
    return "is" if number == 1 else "are"


def between(earlier: datetime | None, later: datetime | None) -> str:
    """Return the time between two moments, or `an unknown time`."""
    return wording.duration((later - earlier).total_seconds()) if earlier and later else "an unknown time"


def ago(moment: datetime | None, now: datetime) -> str:
    return f"{between(moment, now)} ago" if moment else "at an unknown time"


def at(moment: datetime, now: datetime) -> str:
    """Return a moment as its time in UTC, with its date if it is not within a day, and how far it is away."""
    day = "" if abs(moment - now) < timedelta(days=1) else "%Y-%m-%d "
    text = moment.strftime(f"{day}%H:%M:%S UTC")
    return f"{text} (in {between(now, moment)})" if moment > now else f"{text} ({ago(moment, now)})"


def listing(names: Sequence[str], most: int = 4) -> str:
    """Return the names with commas, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def command(*words: str) -> str:
    """Return a command line that can be pasted into a shell."""
    return shlex.join(words)


def explain(subject: Subject) -> str:
    """Return the command that explains a subject."""
    words = [subject.dag, *([subject.run] if subject.run else []), *([subject.task_name] if subject.task else [])]
    return command("airfleet", "explain", *words)


def clear(subject: Subject, logical_date: datetime | None) -> str | None:
    """Return the command that clears one task of one run, or None: Airflow's command needs a logical date for that."""
    if logical_date is None or subject.task is None:
        return None
    day = logical_date.isoformat()
    return airflow(
        *("tasks", "clear", subject.dag, "--task-regex", f"^{re.escape(subject.task)}$", "--downstream"),
        *("--start-date", day, "--end-date", day),
    )


def run(dag: str) -> str:
    """Return the command that triggers a run of a Dag."""
    return command("airfleet", "run", dag)


def airflow(*words: str) -> str:
    """Return a command of Airflow's own."""
    return command("airfleet", "airflow", *words)
