"""The users of the FAB provider, through its security manager."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from airfleet_provider.compat.calls import fab_roles

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415


class Users:
    """The users of one Airflow. Each change is committed when its method returns."""

    def __init__(self, manager: Any) -> None:  # noqa: ANN401 - FAB's security manager has no types
        self._manager = manager

    def exists(self, username: str) -> bool:
        """Return whether the user exists."""
        return self._manager.find_user(username) is not None

    def has_password(self, username: str, password: str) -> bool:
        """Return whether the user can log in with the password."""
        return is_hash_of(self._manager.find_user(username).password or "", password)

    def create_admin(self, username: str, password: str) -> str:
        """Create a user with the role Admin, and return the hash of the password.

        Raises:
            RuntimeError: The user could not be created.
        """
        role = self._manager.find_role("Admin")
        made = self._manager.add_user(username, "Fleet", "Admin", f"{username}@localhost", role, password)
        if not made:
            raise RuntimeError(f"the user {username} could not be made")
        return str(made.password)

    def set_password(self, username: str, password: str) -> None:
        """Change the password of a user, and end the sessions of the former password.

        Raises:
            RuntimeError: The password could not be changed.
        """
        if not self._manager.reset_password(self._manager.find_user(username).id, password):
            raise RuntimeError(f"the password of {username} could not be changed")


@contextlib.contextmanager
def open_users() -> Iterator[Users]:
    """Yield the users of this Airflow's database."""
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

    fab_roles.make_roles()

    with get_application_builder() as builder:
        yield Users(builder.sm)


def make_hash(password: str) -> str:
    """Return a salted, slow hash of a password, as FAB makes it."""
    from werkzeug.security import generate_password_hash

    return generate_password_hash(password, method="scrypt")


def is_hash_of(known: str, password: str) -> bool:
    """Return whether a hash is of this password."""
    from werkzeug.security import check_password_hash

    return bool(known) and check_password_hash(known, password)
