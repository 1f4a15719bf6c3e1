"""The `checks` section gives Checks, or all its problems."""

from __future__ import annotations

import pytest

from airfleet.errors import SpecError
from airfleet.spec import fleet, load, reference
from airfleet.spec.sections import checks


def parse(text: str) -> fleet.Checks:
    return load.parse(text, file="fleet.yaml", default_name="flights", cpus=8).checks


def test_without_the_section_the_defaults_count() -> None:
    assert parse("") == fleet.Checks() == parse("checks:\n")


def test_levels_and_limits_are_read() -> None:
    found = parse("checks: {owner: error, retries: off, parse_seconds: 1, catchup_runs: 5, dag_id_pattern: '[a-z]+'}")
    assert found.levels == {**fleet.CHECK_LEVELS, "owner": "error", "retries": "off"}
    assert (found.parse_seconds, found.catchup_runs, found.dag_id_pattern) == (1, 5, "[a-z]+")


@pytest.mark.parametrize(
    ("line", "what", "hint"),
    [
        ("owner: warn", "expected off, warning or error, found 'warn'", "did you mean 'warning'?"),
        ("owner: loud", "expected off, warning or error, found 'loud'", "known levels: off, warning, error"),
        ("owner: true", "expected off, warning or error, found true", ""),
        ("ownr: off", "unknown key 'ownr'", "did you mean 'owner'?"),
        ("execution_timeout: off", "unknown key 'execution_timeout'", "did you mean 'execution-timeout'?"),
        ("import-error: off", "import-error is always an error", "remove this line"),
        ("parse_seconds: 0", "expected a number, 0.01 or more, found 0", ""),
        ("catchup_runs: many", "expected a whole number, 1 or more, found 'many'", ""),
        ("dag_id_pattern: '['", "not a regular expression: unterminated character set at position 0", None),
    ],
)
def test_what_is_wrong_is_said_at_its_line(line: str, what: str, hint: str | None) -> None:
    with pytest.raises(SpecError) as caught:
        parse(f"checks:\n  {line}\n")
    (problem,) = caught.value.problems
    assert (problem.line, problem.what) == (2, what)
    assert hint is None or problem.hint == hint


def test_every_check_is_a_key_that_the_manual_explains() -> None:
    section = reference.schema()["$defs"]["ChecksSection"]["properties"]
    limits = set(fleet.Checks.__dataclass_fields__) - {"levels"}
    assert set(section) == set(fleet.CHECK_LEVELS) | limits
    manual = reference.reference()
    for field in checks.ChecksSection.model_fields.values():
        assert f"# {field.description}" in manual
