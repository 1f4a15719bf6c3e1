"""The output formats of findings: text, JSON, SARIF and the annotations of GitHub."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

import airfleet
from airfleet.releases.checks import registry
from airfleet.releases.checks.findings import Finding
from airfleet_provider.contract import wording

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def summarise(findings: Sequence[Finding]) -> str:
    """Return one line with the number of findings of each level."""
    errors = sum(finding.level == "error" for finding in findings)
    levels = ((errors, "error"), (len(findings) - errors, "warning"))
    said = ", ".join(wording.count(number, level) for number, level in levels if number)
    files = len({finding.path for finding in findings})
    return f"{said} in {wording.count(files, 'file')}" if said else "nothing found"


def write_text(findings: Sequence[Finding]) -> str:
    """Return a line for each finding, a line for its hint, and a summary."""
    lines = []
    for one in findings:
        lines.append(f"{one.path}:{one.line}: {one.level}[{one.check}]: {one.what}")
        lines += [f"  hint: {one.hint}"] if one.hint else []
    return "\n".join([*lines, summarise(findings)]) + "\n"


def write_json(findings: Sequence[Finding]) -> str:
    """Return a JSON object with the counts and every finding."""
    errors = sum(finding.level == "error" for finding in findings)
    summary = {"errors": errors, "warnings": len(findings) - errors}
    return json.dumps({"summary": summary, "findings": [asdict(one) for one in findings]}, indent=2) + "\n"


def write_github(findings: Sequence[Finding]) -> str:
    """Return GitHub's workflow commands. GitHub shows each finding beside its line in a pull request."""
    lines = []
    for one in findings:
        place = f"file={_property(one.path)},line={one.line},title={_property(one.check)}"
        said = f"{one.what}\nhint: {one.hint}" if one.hint else one.what
        lines.append(f"::{one.level} {place}::{_data(said)}")
    return "".join(f"{line}\n" for line in lines)


def write_sarif(findings: Sequence[Finding]) -> str:
    """Return a SARIF 2.1.0 log for GitHub's code scanning."""
    checks = list(registry.CHECKS)
    driver = {
        "name": "airfleet",
        "semanticVersion": airfleet.__version__,
        "rules": [_rule(name) for name in checks],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(one, checks.index(one.check)) for one in findings],
    }
    return json.dumps({"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


FORMATS: Mapping[str, Callable[[Sequence[Finding]], str]] = {
    "text": write_text,
    "json": write_json,
    "sarif": write_sarif,
    "github": write_github,
}


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _rule(name: str) -> dict[str, Any]:
    check, level = registry.CHECKS[name], registry.level(name)
    return {
        "id": name,
        "name": name,
        "shortDescription": {"text": check.description},
        "fullDescription": {"text": check.description},
        "help": {"text": f"{check.description} An example that does not pass: {check.example}"},
        "defaultConfiguration": {"level": "warning" if level == "off" else level, "enabled": level != "off"},
    }


def _result(one: Finding, index: int) -> dict[str, Any]:
    # The fingerprint has no line, so that a finding keeps its identity when code above it moves.
    print_of = hashlib.sha256(f"{one.check}\0{one.path}\0{one.what}".encode()).hexdigest()
    place = {
        "artifactLocation": {"uri": quote(one.path), "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": one.line},
    }
    return {
        "ruleId": one.check,
        "ruleIndex": index,
        "level": one.level,
        "message": {"text": f"{one.what}. Hint: {one.hint}" if one.hint else one.what},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"airfleet/v1": print_of},
    }
