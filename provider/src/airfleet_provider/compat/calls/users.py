"""Users as the FAB provider keeps them, through its own security manager."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415


class Users:
    """The users of one Airflow; each change is committed when its function returns."""

    def __init__(self, manager: Any) -> None:  # noqa: ANN401 - FAB's security manager has no types
        self._manager = manager

    def exists(self, username: str) -> bool:
        """Whether there is such a user."""
        return self._manager.find_user(username) is not None

    def has_password(self, username: str, password: str) -> bool:
        """Whether the user could log in with the password."""
        return is_hash_of(self._manager.find_user(username).password or "", password)

    def create_admin(self, username: str, password: str) -> None:
        """Make a user with the role Admin; raises RuntimeError when that fails."""
        role = self._manager.find_role("Admin")
        if not self._manager.add_user(username, "Fleet", "Admin", f"{username}@localhost", role, password):
            raise RuntimeError(f"the user {username} could not be made")

    def set_password(self, username: str, password: str) -> None:
        """Give the user another password and end the sessions of the former; raises RuntimeError when that fails."""
        if not self._manager.reset_password(self._manager.find_user(username).id, password):
            raise RuntimeError(f"the password of {username} could not be changed")


@contextlib.contextmanager
def open_users() -> Iterator[Users]:
    """The users of this Airflow's database."""
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

    with get_application_builder() as builder:
        yield Users(builder.sm)


def make_hash(password: str) -> str:
    """A salted, slow hash of a password, made as FAB makes its own."""
    from werkzeug.security import generate_password_hash

    return generate_password_hash(password, method="scrypt")


def is_hash_of(known: str, password: str) -> bool:
    """Whether a hash was made of the password."""
    from werkzeug.security import check_password_hash

    return bool(known) and check_password_hash(known, password)
