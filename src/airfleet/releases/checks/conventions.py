"""Checks of a team's conventions: owners, tags, descriptions, names, retries and time-outs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from airfleet.releases.checks import serialised
from airfleet.releases.checks.findings import Caught, Check
from airfleet.releases.checks.inputs import CheckInputs
from airfleet.releases.checks.serialised import ParsedTask

NOBODY = "airflow"


def find_without_owner(facts: CheckInputs) -> Iterator[Caught]:
    """Yield each Dag without a task that names an owner."""
    for source, dag in facts.dags():
        defaults = serialised.plain(dag.properties.get("default_args", {}))
        owners = {task.fields.get("owner", NOBODY) for task in dag.tasks} or {defaults.get("owner", NOBODY)}
        if owners <= {NOBODY, ""}:
            hint = 'name a person or a team: default_args={"owner": "data-platform"}'
            yield Caught(source.path, source.dag_line(dag.id), f"{dag.id} has no owner", hint, dag.id)


def find_without_tags(facts: CheckInputs) -> Iterator[Caught]:
    """Yield each Dag without a tag."""
    for source, dag in facts.dags():
        if not dag.properties.get("tags"):
            hint = 'tags are how people find it: tags=["finance"]'
            yield Caught(source.path, source.dag_line(dag.id), f"{dag.id} has no tags", hint, dag.id)


def find_without_description(facts: CheckInputs) -> Iterator[Caught]:
    """Yield each Dag without a description, a doc_md or a docstring."""
    for source, dag in facts.dags():
        own = dag.properties
        if not own.get("description") and not own.get("doc_md"):
            hint = "say in one sentence what it is for: description=, doc_md= or the docstring of the @dag function"
            yield Caught(source.path, source.dag_line(dag.id), f"{dag.id} has no description", hint, dag.id)


def find_without_retries(facts: CheckInputs) -> Iterator[Caught]:
    """Yield each task without retries. If no task of a Dag has retries, yield one finding for the Dag."""
    hint = 'machines and networks fail: default_args={"retries": 2}'
    yield from _tasks_without(facts, lambda task: int(task.fields.get("retries") or 0) > 0, "not tried again", hint)


def find_without_timeout(facts: CheckInputs) -> Iterator[Caught]:
    """Yield each task without an execution_timeout. If no task of a Dag has one, yield one finding for the Dag."""
    hint = 'a task that hangs keeps its slot: default_args={"execution_timeout": timedelta(hours=1)}'
    yield from _tasks_without(
        facts, lambda task: task.fields.get("execution_timeout") is not None, "without an execution_timeout", hint
    )


def _tasks_without(facts: CheckInputs, has: Callable[[ParsedTask], bool], words: str, hint: str) -> Iterator[Caught]:
    for source, dag in facts.dags():
        tasks = [task for task in dag.tasks if not task.is_empty]
        bare = [task for task in tasks if not has(task)]
        if len(bare) > 1 and len(bare) == len(tasks):
            what = f"all {len(bare)} tasks of {dag.id} are {words}"
            yield Caught(source.path, source.dag_line(dag.id), what, hint, dag.id)
            continue
        for task in bare:
            what = f"the task {task.id} of {dag.id} is {words}"
            yield Caught(source.path, source.task_line(task.id, dag.id), what, hint, dag.id, task.id)


def find_misnamed(facts: CheckInputs) -> Iterator[Caught]:
    """Yield each Dag whose id does not match `dag_id_pattern`."""
    pattern = facts.rules.dag_id_pattern
    for source, dag in facts.dags():
        if not re.fullmatch(pattern, dag.id):
            what = f"the Dag id {dag.id!r} does not fit {pattern}"
            hint = "rename it, knowing that Airflow keeps the runs under the old id"
            yield Caught(source.path, source.dag_line(dag.id), what, hint, dag.id)


CHECKS = (
    Check("owner", "Every Dag has an owner other than `airflow`.", "@dag() without an owner", find_without_owner),
    Check("tags", "Every Dag has a tag.", "@dag() without tags", find_without_tags),
    Check(
        "description",
        "Every Dag has a description or a doc_md.",
        "@dag() on a function without a docstring",
        find_without_description,
    ),
    Check("retries", "Every task has retries.", "@task(retries=0)", find_without_retries),
    Check(
        "execution-timeout",
        "Every task has an execution_timeout.",
        "@task() without an execution_timeout",
        find_without_timeout,
    ),
    Check("naming", "Every Dag id fits `dag_id_pattern`.", '@dag(dag_id="My-Dag")', find_misnamed),
)
