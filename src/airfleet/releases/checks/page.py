"""The table of all checks in docs/concepts/release-checks.md: `python -m airfleet.releases.checks.page` prints it."""

from __future__ import annotations

from airfleet.releases.checks import registry
from airfleet.spec.fleet import FIXED_CHECKS


def describe() -> str:
    """Return a Markdown table of all checks, in the order in which they run."""
    rows = ["| check | default | what it guarantees | example of a finding |", "|---|---|---|---|"]
    for name, check in registry.CHECKS.items():
        level = "always an error" if name in FIXED_CHECKS else registry.level(name)
        example = check.example.replace("|", "\\|")
        rows.append(f"| `{name}` | {level} | {check.description} | `{example}` |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(describe(), end="")
