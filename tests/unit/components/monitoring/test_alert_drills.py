"""Each alert of the shipped rules has a drill that breaks what it is about."""

from __future__ import annotations

import pytest

from alert_drills.__main__ import DRILLED_AS, PARTS, list_alerts, main


def test_no_alert_is_without_a_drill() -> None:
    drilled = {
        name.partition(" (")[0]
        for groups in PARTS.values()
        for group in groups
        for drill in group
        for name in drill.alerts
    }
    assert [name for name in list_alerts() if DRILLED_AS.get(name, name) not in drilled] == []


def test_a_drill_that_is_not_there_is_no_success(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["alert_drills", "--only", "SchedulerDwn"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "no drill of these parts is about SchedulerDwn" in capsys.readouterr().err
