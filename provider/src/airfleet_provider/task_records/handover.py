"""Hands the records of attempts over to the API of tasks, once each attempt has ended. It never raises.

A file is removed when the API has written its records to the database. If that fails, it stays, and the supervisor of a
later attempt on this host hands it over. A record that is handed over twice is the same record.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airfleet_provider.contract import environment, task_records

log = logging.getLogger(__name__)

# Seconds for an answer of the API. The task has ended, and its slot is needed.
ANSWER_S = 2.0
# Files of earlier attempts that are handed over with one attempt, and the seconds since they were last written.
MOST_LEFT, LEFT_S = 3, 120.0
# Files that are kept while nothing takes them. The oldest go first.
MOST_FILES, OLDEST_S = 2000, 3 * 86_400.0


@dataclass(slots=True)
class RecordHandover:
    """Hands over the files of one attempt. `folder` is that of this host; without one, nothing happens."""

    client: Any
    folder: str
    instance: str
    has_spans: bool = False
    wall: Callable[[], float] = time.time

    def prepare(self) -> dict[str, str]:
        """Return the variables for the processes of the task, and make the folder."""
        if not self.folder:
            return {}
        try:
            Path(self.folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            log.warning("no records of tasks are kept: %s", error)
            return {}
        wanted = {environment.SPANS: "1"} if self.has_spans else {}
        return {environment.RECORDS: str(Path(self.folder, self.instance)), **wanted}

    def finish(self) -> None:
        """Hand over the files of this attempt, and some that earlier ones have left behind."""
        if not self.folder:
            return
        try:
            names = sorted(one.name for one in Path(self.folder).iterdir())
            own = [name for name in names if name.startswith(f"{self.instance}.")]
            for name in own:
                if not self._hand_over(name):
                    return
            self._finish_others([name for name in names if name not in own])
        except Exception as error:
            log.info("records of tasks wait in %s: %s: %s", self.folder, type(error).__name__, error)

    def _finish_others(self, names: list[str]) -> None:
        ages = {}
        for name in names:
            if task_records.read_name(name):
                try:
                    ages[name] = self.wall() - Path(self.folder, name).stat().st_mtime
                except OSError:
                    continue
        oldest = sorted(ages, key=lambda name: -ages[name])
        drop = [name for place, name in enumerate(oldest) if ages[name] > OLDEST_S or len(oldest) - place > MOST_FILES]
        for name in drop:
            Path(self.folder, name).unlink(missing_ok=True)
        if drop:
            log.warning("%d files of records of tasks were removed: nothing took them for too long", len(drop))
        for name in [one for one in oldest if ages[one] > LEFT_S and one not in drop][:MOST_LEFT]:
            if not self._hand_over(name):
                return

    def _hand_over(self, name: str) -> bool:
        """Hand over a file, and return whether another one may follow."""
        read = task_records.read_name(name)
        if read is None:
            return True
        path = Path(self.folder, name)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                content = os.pread(descriptor, task_records.MOST_FILE_BYTES + task_records.CUT_BYTES, 0)
            finally:
                os.close(descriptor)
        except OSError:
            # Another supervisor was faster, or a task made a link, a pipe or a folder of this name.
            with contextlib.suppress(OSError):
                path.unlink()
            return True
        if b"\n" in content:
            headers = {"Content-Type": "application/x-ndjson", "Airfleet-Instance": read[0], "Airfleet-File": read[1]}
            # `send` and not `request`: Airflow's client would repeat that for minutes.
            request = self.client.build_request(
                "PUT", task_records.REPORT_TO, content=content, headers=headers, timeout=ANSWER_S
            )
            answer = self.client.send(request)
            if answer.status_code >= 500:
                return False
            if answer.status_code == 404:
                return False  # an API of an earlier version
            if answer.status_code == 403 and read[0] == self.instance:
                return True  # the token has ended: a later attempt of this host may speak for this one
            if answer.status_code >= 400:
                log.warning("records of a task were refused: %d", answer.status_code)
        path.unlink(missing_ok=True)
        return True
