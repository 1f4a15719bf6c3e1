"""Which backup is chosen, and which are removed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airfleet.components.postgresql import embedded
from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.backup import catalogue
from airfleet.operations.backup.catalogue import Backup

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def backup(hour: int, segment: int = 0, timeline: int = 1) -> Backup:
    began = NOON + timedelta(hours=hour)
    name = began.strftime(catalogue.STAMP)
    return Backup(name, began, began + timedelta(minutes=5), f"{timeline:08X}{segment:016X}", 1, "18.4", "3.3.2")


BACKUPS = [backup(2, 9), backup(0, 3), backup(1, 6)]


def test_a_backup_is_read_as_it_was_written() -> None:
    assert Backup.from_json(BACKUPS[0].to_json()) == BACKUPS[0]


@pytest.mark.parametrize(
    ("to", "hour"), [(None, 2), (timedelta(hours=1, minutes=5), 1), (timedelta(hours=1, minutes=4), 0)]
)
def test_the_newest_that_had_ended_by_then_is_chosen(to: timedelta | None, hour: int) -> None:
    assert catalogue.choose(BACKUPS, name=None, to=None if to is None else NOON + to) == backup(hour, 3 + 3 * hour)


def test_what_was_named_is_chosen_if_it_leads_there() -> None:
    assert catalogue.choose(BACKUPS, name="20261124T120000Z", to=None) == BACKUPS[1]
    with pytest.raises(UsageError, match="no backup had ended by"):
        catalogue.choose(BACKUPS, name="20261124T140000Z", to=NOON + timedelta(hours=1))
    with pytest.raises(UsageError, match="there is no backup x"):
        catalogue.choose(BACKUPS, name="x", to=None)


def test_without_a_backup_there_is_nothing_to_restore() -> None:
    with pytest.raises(AirfleetError, match="no backup"):
        catalogue.choose([], name=None, to=None)


def test_the_oldest_go_first() -> None:
    assert catalogue.list_surplus(BACKUPS, keep=1) == [BACKUPS[1], BACKUPS[2]]
    assert catalogue.list_surplus(BACKUPS, keep=7) == []


def test_changes_are_kept_from_the_first_of_the_oldest_backup_on() -> None:
    assert catalogue.find_first_segment([BACKUPS[2], BACKUPS[0]]) == BACKUPS[2].first_segment
    assert catalogue.find_first_segment([]) is None
    # A restore begins another time line; its segments go on counting.
    later = backup(3, segment=7, timeline=2)
    assert catalogue.find_first_segment([later, backup(4, segment=8, timeline=1)]) == later.first_segment


def test_a_folder_with_an_odd_name_is_still_archived_to() -> None:
    options = embedded.archive_options(Path("/srv/100% it's mine"))
    assert "'/srv/100%% it'\"'\"'s mine/wal'/%f.gz" in options["archive_command"]
    assert embedded.restore_command(Path("/srv/a b")) == "gzip -dc '/srv/a b/wal'/%f.gz > %p"
