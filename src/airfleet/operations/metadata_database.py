"""How commands reach the metadata database of a project's platform, on one machine or through SSH."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from airfleet.errors import AirfleetError
from airfleet.spec.fleet import Fleet
from airfleet.spec.secrets import Secret
from airfleet.workspace.project import find_project, find_state


@contextmanager
def reach(fleet: Fleet | None, project: Path, state: Path | None, *, must_run: bool = False) -> Iterator[Secret]:
    """Yield the URL of the database. That of a fleet is of use only inside the block.

    Raises:
        AirfleetError: No platform has ever run in the project; with `must_run`, none runs on this machine now; or no
            host of the fleet answers.
    """
    if fleet and fleet.hosts:
        from airfleet.runners.fleet.transport import tunnel  # noqa: PLC0415 - SSH costs a platform on one machine 0.2 s

        with tunnel.open_database(fleet, find_project(project), state) as remote:
            yield remote
        return
    folder = find_state(project, state)
    dsn = folder.read_dsn()
    if must_run and (dsn is None or not folder.is_held()):
        raise AirfleetError("no platform runs here", where=str(folder.root), hint="airfleet up")
    if dsn is None:
        raise AirfleetError("no platform has ever run in this project", where=str(project), hint="airfleet up")
    yield dsn
