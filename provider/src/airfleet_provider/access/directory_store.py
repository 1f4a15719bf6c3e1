"""The users of this platform who come from a directory or an OpenID provider (ADR 78).

A name belongs to the first person who had it: neither a local user nor another person of the source gets a session
under it. Each change is one transaction with its row of the audit log.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from airfleet_provider.compat.calls import fab_directory
from airfleet_provider.compat.calls.fab_directory import FabDirectory
from airfleet_provider.contract import audit_store
from airfleet_provider.contract.access_roles import PLATFORM_ADMIN
from airfleet_provider.contract.audit_log import AuditEntry, AuditOutcome, AuditSource
from airfleet_provider.contract.directory import CONFIRM_S, Directory, DirectoryUser
from airfleet_provider.contract.locks import ACCESS_LOCK
from airfleet_provider.contract.statements import Statements
from airfleet_provider.contract.text import one_line

SQL = Statements(__package__, "directory_store")

# A web host that died while it asked for users leaves them to the others after so long.
AGAIN_S = 60
MOST = 500
LONGEST_NAME = 200
LONGEST_ADDRESS = 254
# The address of somebody without one, or with one that somebody else has here. Nobody gets mail there.
NO_ADDRESS = "directory.invalid"


class RefusedUserError(Exception):
    """The source knows the user, who may not log in here; the message says why."""


@dataclass(frozen=True, slots=True)
class ClaimedUser:
    """A user for whom this process asks the source now."""

    number: int
    name: str
    subject: str


@dataclass(frozen=True, slots=True)
class KnownUser:
    """What this platform knows of a user of a source. `age_s` is how long ago the source confirmed it."""

    source: str
    is_ended: bool
    age_s: float


class DirectoryStore:
    """The users of one source."""

    def __init__(
        self,
        directory: Directory,
        open_users: Callable[[], AbstractContextManager[FabDirectory]] = fab_directory.open_directory,
    ) -> None:
        self._directory = directory
        self._source = directory.source.identity
        self._open = open_users

    def sign_in(self, found: DirectoryUser) -> int:
        """Make or change the user whom the source has just confirmed, and return the user's number.

        Raises:
            RefusedUserError: The user may not log in here. Nothing was changed.
        """
        roles = self._directory.find_roles(found.groups)
        if not roles:
            raise RefusedUserError("no group of the user is in access.groups of fleet.yaml")
        if not found.name or len(found.name) > LONGEST_NAME or not found.name.isprintable() or not found.subject:
            raise RefusedUserError("the directory gives no name that could be a user's")
        if found.name in self._directory.local or found.name == PLATFORM_ADMIN:
            raise RefusedUserError("the name is that of a local user of fleet.yaml")
        with self._open() as users:
            users.query(SQL["lock"], {"lock": ACCESS_LOCK})
            self._end_former(users, found)
            user = users.find(found.name)
            if user is not None:
                self._require_same(users, user, found)
            if users.query(SQL["taken"], {"address": found.name, "name": found.name})[0]["count"]:
                raise RefusedUserError("the name is the e-mail address of another user")
            return self._write(users, user, found, roles)

    def claim(self) -> list[ClaimedUser]:
        """Return users whom the source has not confirmed for CONFIRM_S; no other process gets them for AGAIN_S."""
        with self._open() as users:
            values = {"source": self._source, "after_s": CONFIRM_S, "again_s": AGAIN_S, "most": MOST}
            rows = users.query(SQL["claim"], values)
        return [ClaimedUser(row["user_id"], row["username"], row["subject"]) for row in rows]

    def confirm(self, claimed: ClaimedUser, found: DirectoryUser | None) -> str:
        """Note what the source says of a user; None if it knows no such user. Return what changed, or an empty text."""
        roles = self._directory.find_roles(found.groups) if found else frozenset()
        with self._open() as users:
            users.query(SQL["lock"], {"lock": ACCESS_LOCK})
            user = users.get(claimed.number)
            if user is None:
                users.execute(SQL["forget"], {"user": claimed.number})
                return "is removed"
            if found is None or found.subject != claimed.subject:
                return self._end(users, user, "the directory does not know the user any more")
            if not roles:
                return self._end(users, user, "no group of the user is in access.groups of fleet.yaml")
            users.execute(SQL["confirm"], {"user": claimed.number})
            # Somebody who was deactivated here stays so.
            if user.active and {one.name for one in user.roles} != roles:
                self._write(users, user, found, roles)
                return f"has the roles {', '.join(sorted(roles))}"
        return ""

    def read_known(self) -> dict[int, KnownUser]:
        """Return all users of any source by number."""
        with self._open() as users:
            rows = users.query(SQL["rows"], {})
        return {row["user_id"]: KnownUser(row["source"], row["is_ended"], row["age_s"]) for row in rows}

    def _end_former(self, users: FabDirectory, found: DirectoryUser) -> None:
        """End the user of the name that this person had before."""
        for row in users.query(SQL["of_subject"], {"source": self._source, "subject": found.subject}):
            if row["username"] is None:
                users.execute(SQL["forget"], {"user": row["user_id"]})
            elif row["username"].lower() != found.name:
                self._end(users, users.get(row["user_id"]), f"the directory calls the user {found.name} now")
                users.execute(SQL["forget"], {"user": row["user_id"]})

    def _require_same(self, users: FabDirectory, user: Any, found: DirectoryUser) -> None:  # noqa: ANN401 - FAB's user
        number, is_active = int(user.id), bool(user.active)
        rows = users.query(SQL["of_user"], {"user": number})
        if not rows:
            raise RefusedUserError("the name is that of a user of this platform, who does not come from a directory")
        row = rows[0]
        if row["source"] == self._source and row["subject"] != found.subject:
            raise RefusedUserError("the name was that of another person of the directory")
        if not is_active and not row["is_ended"]:
            raise RefusedUserError("the user was deactivated here")

    def _write(self, users: FabDirectory, user: Any, found: DirectoryUser, roles: frozenset[str]) -> int:  # noqa: ANN401
        is_new = user is None
        one = user if user is not None else users.make(found.name)
        before = sorted(role.name for role in one.roles)
        # Users may write these words themselves. What the database refuses would keep others from being confirmed.
        is_address = "@" in found.email and found.email.isprintable() and len(found.email) <= LONGEST_ADDRESS
        address = found.email if is_address else ""
        if not address or users.query(SQL["taken"], {"address": address, "name": found.name})[0]["count"]:
            address = f"{found.name.partition('@')[0]}.{uuid.uuid4().hex[:8]}@{NO_ADDRESS}"
            # An address that was made up once stays.
            known = str(getattr(one, "email", "") or "")
            address = known if known.endswith(f"@{NO_ADDRESS}") else address
        first, last = one_line(found.first_name or found.name), one_line(found.last_name)
        try:
            number = users.write(one, email=address, first=first, last=last, roles=roles)
        except LookupError as error:
            raise RefusedUserError(f"{error}: `airfleet access apply` makes it") from None
        users.execute(SQL["bind"], {"user": number, "source": self._source, "subject": found.subject})
        if is_new or before != sorted(roles):
            what = f"roles {', '.join(sorted(roles))}" + ("" if is_new else f" (were {', '.join(before) or 'none'})")
            self._record(users, f"access {'add' if is_new else 'change'} user {found.name}", what)
        return number

    def _end(self, users: FabDirectory, user: Any, why: str) -> str:  # noqa: ANN401 - as above
        number, name = int(user.id), str(user.username)
        users.execute(SQL["end"], {"user": number})
        users.end(user)
        self._record(users, f"access deactivate user {name}", why)
        return f"is deactivated: {why}"

    def _record(self, users: FabDirectory, action: str, what: str) -> None:
        entry = AuditEntry(
            id=str(uuid.uuid4()),
            source=AuditSource.AIRFLEET,
            actor="directory",
            action=action,
            outcome=AuditOutcome.DONE,
            detail={"what": what, "directory": self._source},
        )
        audit_store.record(users.execute, entry)
