"""Each alert of the shipped rules has a drill that breaks what it is about."""

from __future__ import annotations

from alert_drills.__main__ import DRILLED_AS, PARTS, list_alerts


def test_no_alert_is_without_a_drill() -> None:
    drilled = {
        name.partition(" (")[0]
        for groups in PARTS.values()
        for group in groups
        for drill in group
        for name in drill.alerts
    }
    assert [name for name in list_alerts() if DRILLED_AS.get(name, name) not in drilled] == []
