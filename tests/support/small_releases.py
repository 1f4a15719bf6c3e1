"""Small releases, and what the checks say about them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airfleet.releases.checks import registry
from airfleet.releases.checks.findings import Finding
from airfleet.releases.checks.inputs import CheckInputs, Inventory, ParsedFile, read_sources
from airfleet.releases.checks.serialised import ParsedDag
from airfleet.spec.fleet import CHECK_LEVELS, Checks

PATH = "dags/sales.py"
SAMPLES = Path(__file__).parents[1] / "unit" / "releases" / "checks" / "samples"
STRICT = Checks(levels=dict.fromkeys(CHECK_LEVELS, "error"))
INVENTORY = Inventory(
    connections=frozenset({"crm", "warehouse"}),
    variables=frozenset({"region"}),
    slot_pools=frozenset({"crm"}),
    queues=frozenset({"memory"}),
)


def sample_facts() -> CheckInputs:
    """What Airflow 3.3.2 made of the Dag files in samples/."""
    parses = tuple(ParsedFile.from_json(one) for one in json.loads((SAMPLES / "parses.json").read_text()))
    files = {f"dags/{path.name}": path.read_text() for path in (SAMPLES / "dags").glob("*.py")}
    return CheckInputs(read_sources(files), parses, datetime(2026, 6, 1, tzinfo=UTC), INVENTORY, STRICT)


def make_dag(dag_id: str = "sales", *tasks: dict[str, Any], **own: Any) -> ParsedDag:  # noqa: ANN401  (JSON)
    """A serialised Dag that breaks no rule but by what is given."""
    written = [{"__type": "operator", "__var": {"task_id": "load", **GOOD_TASK, **task}} for task in tasks or ({},)]
    return ParsedDag(dag_id, "", {"dag": {"dag_id": dag_id, "tags": ["x"], "doc_md": "x", "tasks": written, **own}})


GOOD_TASK = {"owner": "data", "retries": 1, "execution_timeout": 60.0, "task_type": "BashOperator"}


def make_facts(source: str = "", *dags: ParsedDag, rules: Checks = STRICT, **parse: Any) -> CheckInputs:  # noqa: ANN401
    """A release of one Dag file."""
    file = ParsedFile(PATH, dags, **parse)
    return CheckInputs(read_sources({PATH: source}), (file,), datetime(2026, 6, 1, tzinfo=UTC), INVENTORY, rules)


def add_file(facts: CheckInputs, path: str, source: str, *dags: ParsedDag) -> CheckInputs:
    sources = {**facts.sources, **read_sources({path: source})}
    return replace(facts, sources=sources, parses=(*facts.parses, ParsedFile(path, dags)))


def catch(facts: CheckInputs, check: str) -> list[Finding]:
    """The findings of one check."""
    return [finding for finding in registry.run(facts) if finding.check == check]
