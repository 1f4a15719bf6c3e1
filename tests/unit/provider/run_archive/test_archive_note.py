"""Which archives count for the timetable of the platform."""

from __future__ import annotations

from unittest.mock import MagicMock

import pytest

from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.run_archive import command


@pytest.mark.parametrize(("dag", "is_noted"), [(None, True), ("sales", False)])
def test_an_archive_of_one_dag_does_not_put_off_that_of_all(
    monkeypatch: pytest.MonkeyPatch, dag: str | None, is_noted: bool
) -> None:
    connect = MagicMock()
    monkeypatch.setattr(metadata_db, "connect", connect)
    command.note_end(dag)
    assert connect.called is is_noted
