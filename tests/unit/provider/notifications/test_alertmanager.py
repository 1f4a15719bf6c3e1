"""What a person reads of an alert of Prometheus."""

from __future__ import annotations

import json
from typing import Any

from airfleet_provider.notifications import alertmanager
from airfleet_provider.notifications.alertmanager import AlertReport


def read(**annotations: str) -> AlertReport:
    alert: dict[str, Any] = {
        "fingerprint": "1",
        "status": "firing",
        "startsAt": "2026-01-01T00:00:00Z",
        "labels": {"alertname": "DiskFull"},
        "annotations": annotations,
    }
    [report] = alertmanager.parse(json.dumps({"alerts": [alert]}).encode())
    return report


def test_an_alert_of_airfleets_rules_says_why_and_what_to_type_first() -> None:
    report = read(
        description="5 % are free.", causes="logs; backups", first_command="airfleet doctor", runbook="runbooks/disk.md"
    )
    assert report.description == "5 % are free.\nLikely causes: logs; backups.\nFirst command: airfleet doctor"
    assert report.runbook == "runbooks/disk.md"


def test_an_alert_of_a_users_own_rules_may_have_less() -> None:
    assert read(description="Act.").description == "Act."
    assert read(runbook_url="https://x/y").runbook == "https://x/y"
    assert (read().description, read().runbook) == ("", "")
