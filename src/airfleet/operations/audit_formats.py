"""The rows of the audit log as JSON lines, as CEF, and as messages of syslog (RFC 5424). Pure functions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from airfleet_provider.contract.audit_log import AuditOutcome, Row, format_moment

# The facility "log audit" of RFC 5424, and the severities notice and warning.
FACILITY, NOTICE, WARNING = 13, 5, 4
# The severity in CEF, from 0 to 10, of what went wrong.
SEVERITIES = {AuditOutcome.REFUSED: 6, AuditOutcome.FAILED: 5, AuditOutcome.UNKNOWN: 5}
# The enterprise number that RFC 5612 keeps for examples: airfleet has none.
ENTERPRISE = 32473


def to_json(row: Row, fleet: str, version: str) -> str:
    """Return the row with all that its hash is made of, so that the line can be verified."""
    return json.dumps(row.to_json(), ensure_ascii=False)


def to_cef(row: Row, fleet: str, version: str) -> str:
    """Return the row in the Common Event Format."""
    fields = row.fields
    outcome = str(fields.get("outcome", ""))
    action = str(fields.get("action", ""))
    values = {
        "rt": str(int(row.recorded_at.timestamp() * 1000)),
        "dvchost": fleet,
        "suser": str(fields.get("actor", "")),
        "src": str(fields.get("address", "")),
        "outcome": outcome,
        "cn1Label": "number",
        "cn1": str(row.number),
        "cs1Label": "hash",
        "cs1": row.hash,
        "cs2Label": "source",
        "cs2": str(fields.get("source", "")),
        "msg": row.entry,
    }
    severity = next((value for one, value in SEVERITIES.items() if one.value == outcome), 3)
    kind = f"{fields.get('source', '')}-{action.partition(' ')[0]}"
    header = "|".join(_escape_header(one) for one in ("airfleet", "airfleet", version, kind, action))
    return f"CEF:0|{header}|{severity}|" + " ".join(
        f"{name}={_escape_value(value)}" for name, value in values.items() if value
    )


def to_syslog(row: Row, fleet: str, version: str) -> str:
    """Return the row as a message of syslog, with its number and hash as structured data."""
    is_bad = row.fields.get("outcome") in {one.value for one in SEVERITIES}
    priority = FACILITY * 8 + (WARNING if is_bad else NOTICE)
    host = re.sub(r"[^!-~]", "-", fleet)[:255] or "-"
    data = f'[audit@{ENTERPRISE} number="{row.number}" hash="{row.hash}"]'
    entry = row.entry.replace("\n", " ")
    return f"<{priority}>1 {format_moment(row.recorded_at)} {host} airfleet - audit {data} {entry}"


def _escape_header(text: str) -> str:
    return _one_line(text).replace("\\", "\\\\").replace("|", "\\|")


def _escape_value(text: str) -> str:
    return _one_line(text).replace("\\", "\\\\").replace("=", "\\=")


def _one_line(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f\u2028\u2029]", " ", text)


FORMATS: Mapping[str, Callable[[Row, str, str], str]] = {"json": to_json, "cef": to_cef, "syslog": to_syslog}
