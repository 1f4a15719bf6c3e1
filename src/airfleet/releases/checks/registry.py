"""The list of all checks, and the function that runs them on a release."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from airfleet.releases.checks import conventions, external_tools, ignores, loading, names, schedules, slas
from airfleet.releases.checks.findings import Caught, Check, Finding
from airfleet.releases.checks.inputs import CheckInputs
from airfleet.spec.fleet import CHECK_LEVELS, FIXED_CHECKS, Checks, Level


def _find_unknown_ignores(facts: CheckInputs) -> Iterator[Caught]:
    for source in facts.sources.values():
        yield from ignores.find_unknown(source, known=CHECK_LEVELS, fixed=FIXED_CHECKS)


CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        check.name: check
        for check in (
            *loading.CHECKS,
            *names.CHECKS,
            *external_tools.CHECKS,
            *conventions.CHECKS,
            *schedules.CHECKS,
            *slas.CHECKS,
            Check(
                ignores.CHECK,
                "A comment that turns a check off names a check that can be turned off.",
                "# airfleet: ignore[retires]",
                _find_unknown_ignores,
            ),
        )
    }
)


def level(check: str, rules: Checks | None = None) -> Level:
    """Return the level of a check's findings under these rules. Without rules, return the default level."""
    return (rules or Checks()).levels.get(check, CHECK_LEVELS.get(check, "error"))


def run(facts: CheckInputs) -> tuple[Finding, ...]:
    """Return all findings about a release, sorted by file and line, without those that a comment turns off."""
    ignored = {
        (path, ignore.target, name)
        for path, source in facts.sources.items()
        for ignore in ignores.read(source)
        for name in ignore.names
        if name not in FIXED_CHECKS
    }
    found = {
        finding: None
        for check in CHECKS.values()
        for finding in _judge(check, facts)
        if (finding.path, finding.line, check.name) not in ignored
    }
    return tuple(sorted(found, key=lambda finding: finding.order))


def _judge(check: Check, facts: CheckInputs) -> Iterator[Finding]:
    set_to = level(check.name, facts.rules)
    if set_to == "off":
        return
    for one in check.find(facts):
        found_level = "warning" if one.is_minor else set_to
        yield Finding(check.name, found_level, one.path, max(one.line, 1), one.dag_id, one.task_id, one.what, one.hint)
