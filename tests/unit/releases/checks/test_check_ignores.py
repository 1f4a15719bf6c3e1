"""A comment turns a finding off, at its line and nowhere else."""

from __future__ import annotations

import pytest

from small_releases import catch, make_dag, make_facts

IGNORED = [
    'DAG("sales")  # airfleet: ignore[tags]',
    'DAG("sales")  # noqa: E501  # airfleet: ignore[owner, tags]',
    '# airfleet: ignore[tags]\nDAG("sales")',
]
NOT_IGNORED = [
    'DAG("sales")  # airfleet: ignore[owner]',
    'DAG("sales")\n# airfleet: ignore[tags]',
    'x = 1  # airfleet: ignore[tags]\nDAG("sales")',
    'DAG("sales", "# airfleet: ignore[tags]")',
]


@pytest.mark.parametrize("text", IGNORED)
def test_a_comment_turns_a_finding_off(text: str) -> None:
    assert not catch(make_facts(text, make_dag(tags=[])), "tags")


@pytest.mark.parametrize("text", NOT_IGNORED)
def test_another_comment_does_not(text: str) -> None:
    assert catch(make_facts(text, make_dag(tags=[])), "tags")


def test_an_import_error_cannot_be_ignored() -> None:
    facts = make_facts("1 / 0  # airfleet: ignore[import-error]", error="ZeroDivisionError: division by zero")
    assert catch(facts, "import-error")
    assert catch(facts, "unknown-ignore")[0].what == "import-error cannot be ignored"


def test_a_comment_names_what_it_ignores() -> None:
    (found,) = catch(make_facts("x = 1  # airfleet: ignore\n"), "unknown-ignore")
    assert found.hint == "name the checks: # airfleet: ignore[retries]"
