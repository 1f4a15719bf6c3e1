"""Checks of how Dag files load: without errors, fast, and to the same Dags each time."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from airfleet.releases.checks import import_hints, tracebacks
from airfleet.releases.checks.findings import Caught, Check
from airfleet.releases.checks.inputs import CheckInputs
from airfleet.releases.checks.tracebacks import LoadFailure

SLOW_FACTOR = 5

_CYCLE = "AirflowDagCycleException"
_DUPLICATE = "AirflowDagDuplicatedIdException"
_ACCESS_WORDS = {
    "variable": (
        "reads the variable {}",
        "read it inside a task, or write {{{{ var.value.{} }}}} in a templated field",
    ),
    "connection": ("reads the connection {}", "give its id to an operator or a hook inside a task"),
    "network": ("talks to {}", "move this into a task; what rarely changes can be a file in include/"),
    "database": ("uses the database {}", "move this into a task: a Dag file is loaded far more often than it runs"),
}


def _failures(facts: CheckInputs) -> Iterator[LoadFailure]:
    for parse in facts.parses:
        if parse.error:
            yield tracebacks.read(parse.error, files=facts.sources, own=parse.path)


def find_import_errors(facts: CheckInputs) -> Iterator[Caught]:
    """Yield each file that does not load."""
    for failure in _failures(facts):
        if failure.kind in (_CYCLE, _DUPLICATE):
            continue
        source = facts.source(failure.path)
        line = failure.line or import_hints.find_line(failure, source)
        what = ": ".join(part for part in (failure.kind, failure.message) if part)
        yield Caught(failure.path, line, what or "does not load", import_hints.give(failure, source, facts.sources))


def find_cycles(facts: CheckInputs) -> Iterator[Caught]:
    """Yield each Dag whose tasks depend on each other in a circle."""
    for failure in _failures(facts):
        if failure.kind == _CYCLE:
            named = re.search(r"D(?:ag|AG): (\S+?)\. Faulty task: (\S+)", failure.message)
            dag_id, task_id = named.groups() if named else (None, None)
            source = facts.source(failure.path)
            line = source.task_line(task_id, dag_id) if task_id else source.dag_line(dag_id)
            what = f"the tasks of {dag_id or 'this Dag'} wait for each other in a circle, {task_id or 'one'} among them"
            hint = "check the >> and << of this task, and remove the one that leads back"
            yield Caught(failure.path, line, what, hint, dag_id, task_id)


def find_duplicate_ids(facts: CheckInputs) -> Iterator[Caught]:
    """Yield each file that makes a Dag with the id of a Dag in another file."""
    paths = defaultdict(set)
    for source, dag in facts.dags():
        paths[dag.id].add(source.path)
    for dag_id, found in paths.items():
        for path in found if len(found) > 1 else ():
            other = min(found - {path})
            what = f"{other}:{facts.source(other).dag_line(dag_id)} has a Dag with the id {dag_id!r} too"
            yield Caught(path, facts.source(path).dag_line(dag_id), what, "give one of the two another id", dag_id)
    for failure in _failures(facts):
        if failure.kind == _DUPLICATE:
            yield Caught(failure.path, failure.line or 1, failure.message, "give one of the two another id")


def find_unstable(facts: CheckInputs) -> Iterator[Caught]:
    """Yield each Dag that differed when its file was loaded again."""
    hint = (
        "the usual causes: datetime.now() or a random value in an argument, a set or an unsorted list of files that "
        "makes tasks, an object whose repr has an address"
    )
    for parse in facts.parses:
        for dag_id in parse.unstable:
            what = f"{dag_id} differs each time it is loaded, so every load makes a new version of it"
            yield Caught(parse.path, facts.source(parse.path).dag_line(dag_id), what, hint, dag_id)


def find_accesses(facts: CheckInputs) -> Iterator[Caught]:
    """Yield each variable, connection, network or database that a Dag file used while it loaded."""
    for parse in facts.parses:
        for access in parse.accesses:
            said, advised = _ACCESS_WORDS.get(access.kind, ("uses {}", "move this into a task"))
            what = f"loading this file {said.format(access.what)}"
            yield Caught(parse.path, max(access.line, 1), what, advised.format(access.what))


def find_slow(facts: CheckInputs) -> Iterator[Caught]:
    """Yield each file that took longer than `parse_seconds` to load. Up to SLOW_FACTOR times that is minor."""
    budget = facts.rules.parse_seconds
    for parse in facts.parses:
        if parse.seconds > budget:
            what = f"takes {parse.seconds:.1f} s to load, and {budget:g} s is the budget"
            hint = "import heavy packages inside the tasks that use them, and compute nothing at import"
            yield Caught(parse.path, 1, what, hint, is_minor=parse.seconds <= budget * SLOW_FACTOR)


CHECKS = (
    Check("import-error", "Every Dag file loads on the target environment.", "import pandas_typo", find_import_errors),
    Check(
        "cycle", "No task waits for itself, directly or through other tasks.", "extract >> load >> extract", find_cycles
    ),
    Check(
        "duplicate-dag-id",
        "No two files make a Dag with the same id.",
        '@dag(dag_id="sales") in dags/a.py and in dags/b.py',
        find_duplicate_ids,
    ),
    Check(
        "unstable-dag",
        "A Dag is the same each time its file is loaded, so that versions do not pile up.",
        'BashOperator(task_id="x", bash_command=f"echo {datetime.now()}")',
        find_unstable,
    ),
    Check(
        "import-time-access",
        "Loading a Dag file reads no variable, connection or database, and no network.",
        'TABLES = Variable.get("tables")  # outside of a task',
        find_accesses,
    ),
    Check(
        "slow-import",
        "A Dag file that takes longer than `parse_seconds` to load is a warning; five times that is an error.",
        "import tensorflow  # at the top of a Dag file",
        find_slow,
    ),
)
