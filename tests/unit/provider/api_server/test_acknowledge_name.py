"""The name that somebody writes on the page of a link: mails, terminals and the database get it."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote

import pytest

from airfleet_provider.api_server import acknowledge_page
from airfleet_provider.contract import alert_schema
from airfleet_provider.contract.alert_links import Capability
from airfleet_provider.contract.alert_schema import AlertView

ALERT = AlertView(17, "DiskFillsUp", "warning", "full soon", is_resolved=False, acknowledged_by=None)


@pytest.mark.parametrize(
    ("name", "actor"),
    [
        ("Ann", "Ann (mail)"),
        ("Żaneta 李", "Żaneta 李 (mail)"),
        ("", "mail"),
        ("a\0b", "a\\x00b (mail)"),
        ("a\r\nBcc: x", "a\\r\\nBcc: x (mail)"),
        ("\x1b[2J\u202e", "\\x1b[2J\\u202e (mail)"),
        ("\0" * 300, "\\x00" * 100 + " (mail)"),
    ],
)
def test_a_name_has_one_line_without_control_characters(monkeypatch: pytest.MonkeyPatch, name: str, actor: str) -> None:
    written: list[str] = []
    monkeypatch.setattr(alert_schema, "read_alert", lambda *_: ALERT)
    monkeypatch.setattr(alert_schema, "acknowledge", lambda *_, actor, via: written.append(actor))
    page = acknowledge_page.acknowledge(None, Capability(17, "mail"), f"name={quote(name)}".encode())
    assert page.status == HTTPStatus.OK
    assert written == [actor]
