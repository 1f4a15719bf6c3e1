"""Users and roles of the FAB provider, changed in one transaction."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from airfleet_provider.compat.calls import metadata_db, users
from airfleet_provider.contract.access_plan import DesiredUser, is_of_one_dag
from airfleet_provider.contract.access_roles import Permission
from airfleet_provider.contract.locks import ACCESS_LOCK

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415


class FabAccess:
    """Airflow's users and roles. Methods that change something do so in the transaction of `hold`."""

    def __init__(self, manager: Any) -> None:  # noqa: ANN401 - FAB's security manager has no types
        self._manager = manager

    def prepare(self, permissions: Iterable[Permission]) -> None:
        """Make those permissions that do not exist yet. Each is committed; nobody holds a new one."""
        for action, resource in sorted(permissions):
            self._manager.create_permission(action, resource)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Run a block as one transaction, after that of any other process that changes access."""
        session = self._manager.session
        session.rollback()
        try:
            self.query("SELECT pg_advisory_xact_lock(%(lock)s)", {"lock": ACCESS_LOCK})
            # What was read before may have changed while this process waited.
            session.expire_all()
            yield
            session.commit()
        except BaseException:
            session.rollback()
            raise

    def query(self, statement: str, values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Return the rows of a statement."""
        self._manager.session.flush()
        return metadata_db.query_in(self._manager.session)(statement, values)

    def execute(self, statement: str, values: Mapping[str, Any]) -> None:
        """Run a statement that returns no rows."""
        self._manager.session.flush()
        self._manager.session.connection().exec_driver_sql(statement, dict(values))

    def write_role(self, name: str, permissions: Iterable[Permission]) -> None:
        """Let a role have these permissions, and those on one Dag that it has already. Make it if it does not exist."""
        role = self._manager.find_role(name)
        if role is None:
            role = self._manager.role_model(name=name)
            self._manager.session.add(role)
        kept = [one for one in role.permissions if one.resource and is_of_one_dag(one.resource.name)]
        role.permissions = kept + [self._find_permission(*one) for one in sorted(permissions)]
        self._manager.session.flush()

    def remove_role(self, name: str) -> None:
        """Remove a role from its users and groups, and then the role."""
        values = {"name": name}
        for table in ("ab_permission_view_role", "ab_user_role", "ab_group_role"):
            owned = f"DELETE FROM {table} WHERE role_id IN (SELECT id FROM ab_role WHERE name = %(name)s)"  # noqa: S608
            self.execute(owned, values)
        self.execute("DELETE FROM ab_role WHERE name = %(name)s", values)
        self._manager.session.expire_all()

    def write_user(self, user: DesiredUser) -> None:
        """Let a user be active and have these roles and no groups. A new user has no password yet."""
        found = self._manager.find_user(user.name)
        first, _, last = (user.full_name or user.name).partition(" ")
        if found is None:
            found = self._manager.user_model(username=user.name, first_name=first, last_name=last)
            self._manager.session.add(found)
        elif user.full_name:
            found.first_name, found.last_name = first, last
        found.email, found.active = user.email, True
        found.roles = [self._find_role(name) for name in sorted(user.roles)]
        found.groups = []
        self._manager.session.flush()
        # A user whom fleet.yaml names is a local one, also one who came from a directory before.
        self.execute("DELETE FROM airfleet.directory_user WHERE user_id = %(user)s", {"user": found.id})

    def free_address(self, name: str) -> None:
        """Take the e-mail address from a user who gets another one, so that somebody else may have it before."""
        freed = "UPDATE ab_user SET email = 'moved-' || id || '@localhost' WHERE lower(username) = %(name)s"
        self.execute(freed, {"name": name})

    def end_user(self, name: str) -> None:
        """Take all roles from a user, who cannot log in any more. One whom somebody has deleted in the UI has none."""
        found = self._manager.find_user(name)
        if found is None:
            return
        found.active, found.roles, found.groups = False, [], []
        self.execute("UPDATE airfleet.directory_user SET is_ended = true WHERE user_id = %(user)s", {"user": found.id})

    def has_password(self, name: str, password: str) -> bool:
        """Return whether there is such a user, who can log in with the password."""
        found = self._manager.find_user(name)
        return found is not None and users.is_hash_of(found.password or "", password)

    def write_password(self, name: str, hashed: str) -> None:
        """Set a password. Tokens of the former one are not valid any more; call `end_sessions` after the commit."""
        self._manager.find_user(name).password = hashed
        self._manager.session.flush()

    def end_sessions(self, name: str) -> None:
        """End the sessions of FAB's own pages. It commits by itself."""
        self._manager.reset_user_sessions(self._manager.find_user(name))

    def _find_role(self, name: str) -> Any:  # noqa: ANN401 - as above
        role = self._manager.find_role(name)
        if role is None:
            raise LookupError(f"Airflow has no role {name}")
        return role

    def _find_permission(self, action: str, resource: str) -> Any:  # noqa: ANN401 - as above
        found = self._manager.get_permission(action, resource)
        if found is None:
            raise LookupError(f"Airflow has no permission {action} on {resource}")
        return found


@contextlib.contextmanager
def open_access() -> Iterator[FabAccess]:
    """Yield the users and roles of this Airflow's database."""
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

    with get_application_builder() as builder:
        yield FabAccess(builder.sm)
