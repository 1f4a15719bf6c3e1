"""The list of backups: choose one for a moment, and choose what may be deleted. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime

from airfleet.errors import AirfleetError, UsageError

SEGMENT_LENGTH = 24
STAMP = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Backup:
    """One full copy of a database server. A restore to any moment after `ended` is consistent. Times are in UTC."""

    name: str
    began: datetime
    ended: datetime
    first_segment: str
    bytes: int
    postgres: str
    airflow: str = ""

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "began": self.began.isoformat(), "ended": self.ended.isoformat()}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> Backup:
        body = json.loads(text)
        times = {key: datetime.fromisoformat(body[key]) for key in ("began", "ended")}
        return cls(**{**body, **times})


def choose(backups: Iterable[Backup], *, name: str | None, to: datetime | None) -> Backup:
    """Return the named backup, or the newest backup that had ended by the moment `to`.

    Raises:
        AirfleetError: There is no backup at all.
        UsageError: No backup has this name, or had ended by this moment.
    """
    known = sorted(backups, key=lambda backup: backup.ended)
    if not known:
        raise AirfleetError("there is no backup to restore", hint="airfleet db backup")
    if name is not None:
        named = [backup for backup in known if backup.name == name]
        if not named:
            raise UsageError(f"there is no backup {name}", hint="airfleet db backups")
        known = named
    usable = [backup for backup in known if to is None or backup.ended <= to]
    if not usable:
        raise UsageError(
            f"no backup had ended by {to}: the first is of {known[0].ended:%Y-%m-%d %H:%M:%S} UTC",
            hint="a restore needs a backup that ended before that moment, and the changes since",
        )
    return usable[-1]


def list_surplus(backups: Iterable[Backup], *, keep: int) -> list[Backup]:
    """Return the backups that are older than the newest `keep`."""
    return sorted(backups, key=lambda backup: backup.ended)[:-keep]


def find_first_segment(kept: Iterable[Backup]) -> str | None:
    """Return the oldest WAL segment that a restore of one of these backups needs, or None if there is no backup."""
    # The first eight digits are the timeline, which grows with each restore. The rest grows across all timelines.
    return min((backup.first_segment for backup in kept), key=lambda segment: segment[8:], default=None)
