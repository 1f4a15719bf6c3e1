"""Checks of connections, variables, slot pools and queues that Dags name and the platform does not have."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator

from airfleet.releases.checks import usages
from airfleet.releases.checks.findings import Caught, Check
from airfleet.releases.checks.inputs import CheckInputs
from airfleet.releases.checks.usages import CONNECTION, VARIABLE

DEFAULT_POOL, DEFAULT_QUEUE = "default_pool", "default"
# The default connections that their hooks do not need.
OPTIONAL_CONNECTIONS = frozenset({"aws_default", "kubernetes_default"})


def find_connections(facts: CheckInputs) -> Iterator[Caught]:
    """Yield each connection that a Dag names and the platform does not have."""
    known = facts.inventory.connections
    if known is not None:
        yield from _missing(facts, CONNECTION, known | OPTIONAL_CONNECTIONS, "connections")


def find_variables(facts: CheckInputs) -> Iterator[Caught]:
    """Yield each variable that a Dag names without a default and the platform does not have.

    A variable that a Dag of the release sets itself is not missing.
    """
    known = facts.inventory.variables
    if known is not None:
        written = frozenset(name for source in facts.sources.values() for name in usages.find_written(source))
        yield from _missing(facts, VARIABLE, known | written, "variables")


def _missing(facts: CheckInputs, kind: str, known: frozenset[str], section: str) -> Iterator[Caught]:
    seen = set()
    for source, usage in facts.usages:
        if usage.kind == kind and usage.name not in known and (source.path, usage.name, usage.line) not in seen:
            seen |= {(source.path, usage.name), (source.path, usage.name, usage.line)}
            yield _caught(source.path, usage.line, kind, usage.name, known, section)
    # A name that a loop or a factory makes is only in the loaded Dags, not in the source.
    for source, dag in facts.dags():
        for task in dag.tasks:
            named = {name for text in task.texts() for found, name in usages.find_in_text(text) if found == kind}
            if kind == CONNECTION:
                named |= {name for _, name in task.connections() if "{{" not in name}
            for name in sorted(named - known):
                if (source.path, name) not in seen:
                    seen.add((source.path, name))
                    line = source.task_line(task.id, dag.id)
                    yield _caught(source.path, line, kind, name, known, section, dag.id, task.id)


def find_slot_pools(facts: CheckInputs) -> Iterator[Caught]:
    """Yield each slot pool that a task names and the platform does not have."""
    known = facts.inventory.slot_pools
    if known is not None:
        yield from _missing_option(facts, "pool", DEFAULT_POOL, known, "slot pool", "slot_pools")


def find_queues(facts: CheckInputs) -> Iterator[Caught]:
    """Yield each queue that a task goes to and no worker serves."""
    known = facts.inventory.queues
    if known is not None:
        yield from _missing_option(facts, "queue", DEFAULT_QUEUE, known, "queue", "")


def _missing_option(
    facts: CheckInputs, option: str, default: str, known: frozenset[str], noun: str, section: str
) -> Iterator[Caught]:
    seen = set()
    for source, dag in facts.dags():
        for task in dag.tasks:
            name = task.fields.get(option) or default
            if name in known or name == default or not isinstance(name, str):
                continue
            task_line = source.task_line(task.id, dag.id)
            line = source.option_line(option, name, after=task_line) or task_line
            if (source.path, line, name) not in seen:
                seen.add((source.path, line, name))
                yield _caught(source.path, line, noun, name, known | {default}, section, dag.id, task.id)


def _caught(
    path: str,
    line: int,
    noun: str,
    name: str,
    known: Collection[str],
    section: str,
    dag_id: str | None = None,
    task_id: str | None = None,
) -> Caught:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    add = f"add it under `{section}:` in fleet.yaml or on the platform" if section else "start workers that serve it"
    hint = f"did you mean {close[0]!r}? Otherwise {add}" if close else add
    what = f"no worker serves the queue {name!r}" if noun == "queue" else f"the platform has no {noun} {name!r}"
    return Caught(path, line, what, hint, dag_id, task_id)


CHECKS = (
    Check(
        "missing-connection",
        "The platform has every connection that a Dag names literally.",
        'SQLExecuteQueryOperator(task_id="x", conn_id="warehuose", …)',
        find_connections,
    ),
    Check(
        "missing-variable",
        "The platform has every variable that a Dag names literally and without a default.",
        'BashOperator(task_id="x", bash_command="echo {{ var.value.regoin }}")',
        find_variables,
    ),
    Check(
        "missing-slot-pool",
        "The platform has the slot pool of every task. A task in an unknown slot pool would wait for ever.",
        '@task(pool="crn")',
        find_slot_pools,
    ),
    Check(
        "missing-queue",
        "Workers serve the queue of every task. A task in another queue would wait for ever.",
        '@task(queue="gpu")',
        find_queues,
    ),
)
