"""The forms in which a SIEM gets the audit log."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

from airfleet.operations.audit_formats import to_cef, to_json, to_syslog
from airfleet_provider.contract import audit_log
from airfleet_provider.contract.audit_log import AuditEntry, AuditOutcome, AuditSource, Row

ENTRY = AuditEntry(
    id="00000000-0000-4000-8000-000000000001",
    source=AuditSource.API,
    actor="eve|=\\",
    address="10.0.0.9",
    action="DELETE /api/v2/pools/a|b=c\nCEF:0|forged",
    outcome=AuditOutcome.REFUSED,
    status=403,
)
ROW = Row(7, datetime(2026, 11, 29, 12, 0, 1, 500, tzinfo=UTC), ENTRY.id, ENTRY.to_text(), "a" * 64, "b" * 64)


def test_a_json_line_can_be_verified_by_itself() -> None:
    again = Row.from_json(json.loads(to_json(ROW, "shop", "1")))
    assert again.compute_hash() == ROW.compute_hash()
    assert next(iter(audit_log.verify([again], None, ()))).what.startswith("was edited")


def test_a_cef_line_cannot_be_forged_by_its_content() -> None:
    line = to_cef(ROW, "shop", "1")
    assert "\n" not in line
    header = re.split(r"(?<!\\)\|", line)
    assert header[:4] == ["CEF:0", "airfleet", "airfleet", "1"]
    assert header[6] == "6"
    assert line.partition("|6|")[2].startswith(
        "rt=1795953601000 dvchost=shop suser=eve|\\=\\\\ src=10.0.0.9 outcome=refused cn1Label=number"
    )


def test_a_message_of_syslog_has_number_and_hash() -> None:
    line = to_syslog(ROW, "my shop", "1")
    assert "\n" not in line
    expected = (
        f'<108>1 2026-11-29T12:00:01.000500Z my-shop airfleet - audit [audit@32473 number="7" hash="{ROW.hash}"] {{'
    )
    assert line.startswith(expected)
