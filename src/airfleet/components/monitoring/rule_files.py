"""The files with rules that Prometheus reads: those of `rules/`, and one with limits that follow from fleet.yaml."""

from __future__ import annotations

from importlib import resources

import yaml

from airfleet.spec.fleet import Fleet

LIMITS = "limits.yaml"
# A backup that is due takes a while, and may wait for the host to have time.
BACKUP_SLACK_S = 2 * 3600


def read_shipped() -> dict[str, str]:
    """Return the texts of the shipped rule files by name. They are the same for every fleet."""
    folder = resources.files(__package__) / "rules"
    return {file.name: file.read_text() for file in sorted(folder.iterdir(), key=lambda file: file.name)}


def render_limits(fleet: Fleet) -> str:
    """Return the rule file with the limits of one fleet. Each limit is a series, so that alerts need no templates."""
    limits = {"backup_age_seconds": fleet.backups.every_hours * 3600 + BACKUP_SLACK_S}
    rules = [{"record": f"airfleet:limit:{name}", "expr": f"vector({value})"} for name, value in limits.items()]
    text = yaml.safe_dump({"groups": [{"name": "airfleet-limits", "rules": rules}]}, sort_keys=False)
    return f"# Written by airfleet from fleet.yaml.\n{text}"


def list_files(fleet: Fleet) -> dict[str, str]:
    """Return the texts of all rule files of a fleet by name."""
    return {**read_shipped(), LIMITS: render_limits(fleet)}
