"""Users of the FAB provider who come from elsewhere, changed in one transaction each, and the sign-in page they use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, LiteralString

from sqlalchemy import func, select

from airfleet_provider.compat.calls import metadata_db

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415


class FabDirectory:
    """The users of Airflow in one transaction, which is not that of a request of FAB's."""

    def __init__(self, session: Any) -> None:  # noqa: ANN401 - a session, which has no types
        from airflow.providers.fab.auth_manager.models import Role, User

        self._session, self._user, self._role = session, User, Role

    def query(self, statement: LiteralString, values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Return the rows of a statement."""
        self._session.flush()
        return metadata_db.query_in(self._session)(statement, values)

    def execute(self, statement: LiteralString, values: Mapping[str, Any]) -> None:
        """Run a statement that returns no rows."""
        self._session.flush()
        self._session.connection().exec_driver_sql(statement, dict(values))

    def find(self, name: str) -> Any:  # noqa: ANN401 - FAB's user
        """Return the user of a name, in whatever case, or None."""
        named = select(self._user).where(func.lower(self._user.username) == name.lower())
        return self._session.scalars(named).unique().one_or_none()

    def get(self, number: int) -> Any:  # noqa: ANN401 - as above
        """Return the user of a number, or None."""
        return self._session.get(self._user, number)

    def make(self, name: str) -> Any:  # noqa: ANN401 - as above
        """Make a user without a password, who cannot log in with one."""
        user = self._user(username=name, first_name="", last_name="", email=f"{name}@localhost", active=False)
        self._session.add(user)
        return user

    def write(self, user: Any, *, email: str, first: str, last: str, roles: Iterable[str]) -> int:  # noqa: ANN401
        """Let a user be active, with these words and roles and no group of Airflow's. Return its number.

        Raises:
            LookupError: Airflow does not have one of the roles.
        """
        wanted = frozenset(roles)
        found = self._session.scalars(select(self._role).where(self._role.name.in_(sorted(wanted)))).unique().all()
        if missing := sorted(wanted - {one.name for one in found}):
            raise LookupError(f"Airflow has no role {', '.join(missing)}")
        user.email, user.first_name, user.last_name = email, first[:256], last[:256]
        user.active, user.roles, user.groups = True, list(found), []
        self._session.flush()
        return int(user.id)

    def end(self, user: Any) -> None:  # noqa: ANN401 - as above
        """Take all roles from a user, who is not active any more."""
        user.active, user.roles, user.groups = False, [], []
        self._session.flush()


@contextlib.contextmanager
def open_directory() -> Iterator[FabDirectory]:
    """Yield the users in a transaction that commits at the end, and rolls back on an error."""
    with metadata_db.open_session() as session:
        yield FabDirectory(session)
