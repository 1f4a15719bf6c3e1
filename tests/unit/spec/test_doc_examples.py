"""What the pages write into fleet.yaml keeps its schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from airfleet.spec import load, model, yaml_document

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").glob("*/README.md"))]
# An example may leave out what another one on the page has.
ELSEWHERE = "which is no receiver"


def list_examples(page: Path) -> Iterator[str]:
    """Yield the blocks of YAML that are a part of fleet.yaml, by their keys."""
    for text in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.M | re.S):
        keys = set(re.findall(r"^([\w-]+):", text, re.M))
        if keys and keys <= model.FleetFile.model_fields.keys():
            yield text


@pytest.mark.parametrize("page", [one for one in PAGES if any(list_examples(one))], ids=lambda one: one.stem)
def test_an_example_of_a_page_is_valid(page: Path) -> None:
    for text in list_examples(page):
        data = yaml_document.parse(text, file=page.name).data
        try:
            model.FleetFile.model_validate({key: value for key, value in data.items() if value is not None})
        except ValidationError as error:
            found = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
            assert not [one for one in found if ELSEWHERE not in one], text


def test_a_dag_may_be_left_on_time() -> None:
    text = "jitter: {calls: {dag: a, within: 0s}, rest: {within: 2m}}"
    fleet = load.parse(text, file="fleet.yaml", default_name="x", cpus=2)
    assert [(rule.dag, rule.within_s) for rule in fleet.jitter] == [("a", 0), (None, 120)]
