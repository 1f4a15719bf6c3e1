"""The check of SLAs: each rule of fleet.yaml is about a Dag, a task or an asset that the release has."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

from airfleet.releases.checks import serialised
from airfleet.releases.checks.findings import Caught, Check
from airfleet.releases.checks.inputs import CheckInputs
from airfleet.releases.checks.serialised import ParsedDag
from airfleet_provider.contract.sla_rules import PromiseKind, SlaRule

FILE = "fleet.yaml"
MOST_NAMES = 5


def find_unmatched(facts: CheckInputs) -> Iterator[Caught]:
    """Yield each rule that matches nothing. If a file does not load, yield none: a rule may be about what is in it."""
    if any(parse.error for parse in facts.parses):
        return
    dags = [dag for _, dag in facts.dags()]
    said = set()
    for rule, line in facts.slas:
        what, hint = _judge(rule, dags)
        if what and (rule.name, what) not in said:
            said.add((rule.name, what))
            yield Caught(FILE, line, what, hint)


def _judge(rule: SlaRule, dags: Iterable[ParsedDag]) -> tuple[str, str]:
    """Return what is wrong with a rule, and a hint; two empty texts if nothing is."""
    if rule.kind is PromiseKind.FRESH_BY:
        assets = sorted({asset for dag in dags for asset in _list_assets(dag.properties)})
        if any(rule.matches_asset(name, uri) for name, uri in assets):
            return "", ""
        names = [name for name, _ in assets]
        return f"the SLA {rule.name} matches no asset", _advise(rule.asset, names, "asset")
    matched = [dag for dag in dags if rule.matches_dag(dag.id, dag.properties.get("tags") or (), _list_owners(dag))]
    if not matched:
        return f"the SLA {rule.name} matches no Dag", _advise(rule.dag, [dag.id for dag in dags], "Dag")
    tasks = sorted({task.id for dag in matched for task in dag.tasks})
    if rule.task is not None and not any(rule.matches_task(task) for task in tasks):
        found = matched[0].id if len(matched) == 1 else f"{len(matched)} Dags"
        return f"the SLA {rule.name} matches no task of {found}", _advise(rule.task, tasks, "task")
    return "", ""


def _list_owners(dag: ParsedDag) -> set[str]:
    return {str(task.fields.get("owner", "airflow")) for task in dag.tasks}


def _list_assets(node: object) -> Iterator[tuple[str, str]]:
    """Yield the name and URI of each asset in a serialised Dag."""
    inner = serialised.plain(node)
    if isinstance(inner, dict):
        if isinstance(inner.get("name"), str) and isinstance(inner.get("uri"), str):
            yield inner["name"], inner["uri"]
        for value in inner.values():
            yield from _list_assets(value)
    elif isinstance(inner, list):
        for value in inner:
            yield from _list_assets(value)


def _advise(pattern: str | None, names: list[str], noun: str) -> str:
    if close := difflib.get_close_matches(pattern or "", names, n=1):
        return f"did you mean {close[0]!r}? The expression must match the whole name"
    shown = ", ".join(names[:MOST_NAMES]) + (", …" if len(names) > MOST_NAMES else "")
    if not names:
        return f"this release has no {noun}"
    return f"the expressions must match whole names; each {noun} here: {shown}"


CHECKS = (
    Check(
        "unmatched-sla",
        "Every rule of `slas` is about a Dag, a task or an asset of the release.",
        "slas: {late: {dag: slaes, must_run: 1d}}",
        find_unmatched,
    ),
)
