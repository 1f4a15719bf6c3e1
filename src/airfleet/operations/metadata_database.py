"""How commands reach the metadata database of a project's platform, on one machine or through SSH."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airfleet.errors import AirfleetError, DatabaseAwayError
from airfleet.spec.fleet import Fleet
from airfleet.spec.secrets import Secret
from airfleet.workspace.project import find_project, find_state

if TYPE_CHECKING:
    import psycopg

CONNECT_S = 10


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


@contextmanager
def connect(
    fleet: Fleet | None, project: Path, state: Path | None, *, what: str
) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """Yield a connection that commits each statement and returns rows as dicts. `what` are the rows that it is for.

    Raises:
        DatabaseAwayError: The database does not answer.
        AirfleetError: No platform has ever run in the project, or an earlier version of airfleet made its database
            without the tables of `what`. Errors of the block are translated, too.
    """
    import psycopg  # noqa: PLC0415 - most commands that import this module need no database
    from psycopg.rows import dict_row  # noqa: PLC0415

    with ExitStack() as stack:
        dsn = stack.enter_context(reach(fleet, project, state))
        try:
            yield stack.enter_context(
                psycopg.connect(dsn.reveal(), autocommit=True, connect_timeout=CONNECT_S, row_factory=dict_row)
            )
        except psycopg.errors.UndefinedTable:
            raise AirfleetError(
                f"this platform has no {what} yet", hint="start it with this version of airfleet"
            ) from None
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            said = str(error).strip().splitlines()[0] if str(error).strip() else "no answer"
            if not (fleet and (fleet.hosts or fleet.database)):
                folder = find_state(project, state)
                if not folder.is_held():
                    raise AirfleetError("no platform runs here", where=str(folder.root), hint="airfleet up") from None
            raise DatabaseAwayError(f"the metadata database does not answer: {said}", hint="airfleet status") from None
