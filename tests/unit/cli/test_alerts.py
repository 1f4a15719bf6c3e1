"""What `airfleet alerts list` says if there is nothing to list."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from airfleet.operations import alerts
from command_line import invoke


@pytest.mark.parametrize(("written", "is_told"), [("", True), ("notifications: {failures: [{owner: bi}]}\n", False)])
def test_without_alerts_and_a_rule_it_says_when_a_failed_run_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, is_told: bool
) -> None:
    (tmp_path / "fleet.yaml").write_text(f"name: x\n{written}")
    nothing = SimpleNamespace(list_alerts=lambda **_: ())
    monkeypatch.setattr(alerts, "open_alerts", lambda *_: nullcontext(nothing))
    done = invoke("alerts", "list", "--project", str(tmp_path))
    assert done.output.startswith("no alerts")
    assert ("notifications.failures" in done.output) is is_told
