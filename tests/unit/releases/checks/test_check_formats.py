"""What reads findings finds what it needs in them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from airfleet.releases.checks import formats, page, registry
from airfleet.releases.checks.findings import Finding
from small_releases import sample_facts

FOUND = (
    Finding("tags", "error", "dags/a b.py", 4, "a", None, "a has no tags", "add: one, 100%"),
    Finding("retries", "warning", "dags/b.py", 9, "b", "t", "t is not tried again", ""),
)


def test_text() -> None:
    assert formats.write_text(FOUND) == (
        "dags/a b.py:4: error[tags]: a has no tags\n"
        "  hint: add: one, 100%\n"
        "dags/b.py:9: warning[retries]: t is not tried again\n"
        "1 error, 1 warning in 2 files\n"
    )
    assert formats.write_text(()) == "nothing found\n"


def test_json() -> None:
    said = json.loads(formats.write_json(FOUND))
    assert said["summary"] == {"errors": 1, "warnings": 1}
    assert [Finding(**one) for one in said["findings"]] == list(FOUND)


def test_github_annotations_are_one_line_each() -> None:
    assert formats.write_github(FOUND).splitlines() == [
        "::error file=dags/a b.py,line=4,title=tags::a has no tags%0Ahint: add: one, 100%25",
        "::warning file=dags/b.py,line=9,title=retries::t is not tried again",
    ]


def test_sarif_has_what_code_scanning_needs() -> None:
    log = json.loads(formats.write_sarif(registry.run(sample_facts())))
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-2.1.0.json")
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "airfleet"
    for rule in driver["rules"]:
        assert rule["shortDescription"]["text"]
        assert rule["help"]["text"]
        assert rule["defaultConfiguration"]["level"] in ("error", "warning")
    assert run["results"]
    for result in run["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning")
        assert result["message"]["text"]
        assert result["partialFingerprints"]
        (location,) = result["locations"]
        assert location["physicalLocation"]["region"]["startLine"] >= 1
        assert not location["physicalLocation"]["artifactLocation"]["uri"].startswith("/")


def test_sarif_escapes_paths() -> None:
    (run,) = json.loads(formats.write_sarif(FOUND))["runs"]
    assert run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "dags/a%20b.py"


def test_every_check_is_documented() -> None:
    """On failure: python -m airfleet.releases.checks.page prints the table for docs/concepts/release-checks.md."""
    text = (Path(__file__).parents[4] / "docs/concepts/release-checks.md").read_text()
    assert page.describe() in text


def test_every_check_says_what_it_is_for() -> None:
    for check in registry.CHECKS.values():
        assert re.fullmatch(r"[A-Z].*\.", check.description)
        assert check.example
