"""The files with rules that Prometheus reads: those of `rules/`, and one with limits that follow from fleet.yaml."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml
from cryptography import x509

from airfleet.spec.fleet import Fleet

LIMITS = "limits.yaml"
# A backup that is due takes a while, and may wait for the host to have time.
BACKUP_SLACK_S = 2 * 3600
# An archive that failed, or found another one at work, is tried again some times.
ARCHIVE_SLACK_S = 2 * 3600
# Each Monday another week of runs is due. So an archive that keeps up has nothing left at least once in this time.
ARCHIVE_WEEK_S = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Expiry:
    """When a certificate of a host ends, in seconds since 1970. `name` says what the certificate is for."""

    host: str
    name: str
    timestamp: int


def read_expiries(host: str, name: str, certificates: str) -> tuple[Expiry, ...]:
    """Return when the first certificate of a text in PEM ends; nothing if the text has none."""
    try:
        [first, *_] = x509.load_pem_x509_certificates(certificates.encode())
    except ValueError:
        return ()
    return (Expiry(host, name, int(first.not_valid_after_utc.timestamp())),)


def read_shipped() -> dict[str, str]:
    """Return the texts of the shipped rule files by name. They are the same for every fleet."""
    folder = resources.files(__package__) / "rules"
    return {file.name: file.read_text() for file in sorted(folder.iterdir(), key=lambda file: file.name)}


def render_limits(fleet: Fleet, expiries: Iterable[Expiry] = ()) -> str:
    """Return the rule file with the limits of one fleet. Each limit is a series, so that alerts need no templates."""
    # One machine makes backups when a person asks for one, so none can be too old.
    backups = {
        "record": "airfleet:limit:backup_age_seconds",
        "expr": f"vector({fleet.backups.every_hours * 3600 + BACKUP_SLACK_S})",
    }
    archive_s = (fleet.archive.every_hours or 0) * 3600 + fleet.archive.budget + ARCHIVE_SLACK_S
    archives = [
        {"record": "airfleet:limit:archive_age_seconds", "expr": f"vector({archive_s})"},
        {"record": "airfleet:limit:archive_complete_age_seconds", "expr": f"vector({ARCHIVE_WEEK_S + archive_s})"},
    ]
    rules: list[dict[str, Any]] = [
        *((backups,) if fleet.hosts and not fleet.database else ()),
        *(archives if fleet.archive.every_hours else ()),
        *(
            {
                "record": "airfleet:limit:certificate_expiry_timestamp_seconds",
                "expr": f"vector({one.timestamp})",
                "labels": {"host": one.host, "name": one.name},
            }
            for one in expiries
        ),
    ]
    text = yaml.safe_dump({"groups": [{"name": "airfleet-limits", "rules": rules}]}, sort_keys=False)
    return f"# Written by airfleet from fleet.yaml.\n{text}"


def list_files(fleet: Fleet, expiries: Iterable[Expiry] = ()) -> dict[str, str]:
    """Return the texts of all rule files of a fleet by name."""
    return {**read_shipped(), LIMITS: render_limits(fleet, expiries)}
