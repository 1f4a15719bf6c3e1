"""What `plan` says of users and roles while it cannot ask."""

from __future__ import annotations

from pathlib import Path

from airfleet.cli import plan


def test_a_plan_compares_access_where_fleet_yaml_has_it_and_goes_on_without_an_answer(tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    assert plan.tell_access(tmp_path, None) == []
    (tmp_path / "fleet.yaml").write_text("access: {users: {ann: {email: ann@example.com}}}\n")
    (said,) = plan.tell_access(tmp_path, None)
    assert said.startswith("users and roles could not be compared: no platform has ever run")
