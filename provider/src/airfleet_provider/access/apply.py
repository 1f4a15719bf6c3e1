"""`airflow airfleet access`: makes users, roles and rules as fleet.yaml says, in one transaction (ADR 71)."""

from __future__ import annotations

import argparse
import sys
import uuid
from pathlib import Path

from airfleet_provider.compat.calls import fab_access, users
from airfleet_provider.compat.calls.fab_access import FabAccess
from airfleet_provider.contract import access_store, audit_store
from airfleet_provider.contract.access_plan import (
    AccessChange,
    AccessError,
    AccessKind,
    AccessPlan,
    DesiredAccess,
    DesiredUser,
    find_displaced,
    make_plan,
)
from airfleet_provider.contract.access_roles import EDITING, READING, find_permissions
from airfleet_provider.contract.audit_log import AuditEntry, AuditOutcome, AuditSource
from airfleet_provider.contract.text import one_line

PASSWORD = "gets the password of fleet.yaml"  # noqa: S105 - words
NO_DIRECTORY = "comes from a directory, and fleet.yaml has no `access` any more"


def run_command(arguments: argparse.Namespace) -> None:
    """Make the changes, and print each of them and what fleet.yaml does not know. Users without a password keep theirs.

    Raises:
        SystemExit: The change must not be made. Nothing was changed.
    """
    if not (arguments.file or arguments.text):
        raise SystemExit("airfleet: give --file or --text")
    desired = DesiredAccess.from_text(_read(arguments))
    try:
        with fab_access.open_access() as access:
            plan = apply(access, desired)
    except AccessError as error:
        raise SystemExit(f"airfleet: access was not changed: {error}") from None
    for change in plan.changes:
        print(change)
    for name in plan.unknown_users:
        print(f"user {one_line(name)}: is not in fleet.yaml, and keeps all rights")
    for name in plan.unknown_roles:
        print(f"role {one_line(name)}: is not in fleet.yaml, and stays")


def _read(arguments: argparse.Namespace) -> str:
    if not arguments.file:
        return str(arguments.text)
    return sys.stdin.read() if arguments.file == "-" else Path(arguments.file).read_text()


def apply(access: FabAccess, desired: DesiredAccess) -> AccessPlan:
    """Make users, roles and rules as `desired`, and return what was changed. A second call changes nothing.

    A password that a user chose in the UI stays until that of fleet.yaml changes. Sessions of a former password end
    after the commit, and the new password is noted as done after that: if this process is killed in between, the next
    call ends them.

    Raises:
        AccessError: The change must not be made. Nothing was changed.
    """
    access.prepare(READING | EDITING)
    with access.hold():
        present = access_store.read_present(access.query)
        plan = make_plan(desired, present)
        noted = access_store.read_passwords(access.query)
        by_name = {user.name: user for user in desired.users}
        for one in desired.users:
            if (before := present.users.get(one.name)) and before.email != one.email:
                access.free_address(one.name)
        for name in sorted(find_displaced(desired, present)):
            access.free_address(name)
        for change in plan.changes:
            _make(access, change, desired, by_name)
        fresh = [
            one for one in desired.users if one.password and not users.is_hash_of(noted.get(one.name, ""), one.password)
        ]
        changed = [one for one in fresh if not access.has_password(one.name, one.password)]
        hashes = {one.name: users.make_hash(one.password) for one in fresh}
        for user in changed:
            access.write_password(user.name, hashes[user.name])
        added = {one.name for one in plan.changes if one.kind is AccessKind.ADD_USER}
        told = tuple(
            AccessChange(AccessKind.CHANGE_USER, one.name, PASSWORD) for one in changed if one.name not in added
        )
        plan = AccessPlan((*plan.changes, *told), plan.unknown_users, plan.unknown_roles)
        kept = {name: noted[name] for name in by_name if name in noted and name not in hashes}
        if (desired.rules, desired.lists) != (present.rules, present.lists) or kept != noted:
            access_store.write(access.execute, desired.rules, desired.lists, kept)
        # The rows of the audit log come last: they hold the end of its chain until the commit.
        for change in plan.changes:
            audit_store.record(access.execute, describe(change))
    # Also of a user who has the password already: a killed process may have set it, and ended no session.
    for user in fresh:
        access.end_sessions(user.name)
    if fresh:
        with access.hold():
            # Another process may have changed access in between: its rules stay, and so do its passwords.
            own = {one.name: hashes[one.name] for one in fresh if access.has_password(one.name, one.password)}
            noted = access_store.read_passwords(access.query)
            access_store.write(access.execute, *access_store.read_both(access.query), {**noted, **own})
    return plan


def end_directory_users(access: FabAccess) -> tuple[AccessChange, ...]:
    """End all users who come from a directory, in one transaction, and return the changes. Local users stay."""
    with access.hold():
        found = access_store.read_present(access.query).users
        changes = tuple(
            AccessChange(AccessKind.END_USER, name, NO_DIRECTORY)
            for name, one in sorted(found.items())
            if one.source and (one.is_active or one.roles)
        )
        for change in changes:
            access.end_user(change.name)
        # Also of somebody whom an administrator has deactivated before.
        access.execute("UPDATE airfleet.directory_user SET is_ended = true WHERE NOT is_ended", {})
        for change in changes:
            audit_store.record(access.execute, describe(change))
    return changes


def _make(access: FabAccess, change: AccessChange, desired: DesiredAccess, by_name: dict[str, DesiredUser]) -> None:
    match change.kind:
        case AccessKind.ADD_ROLE | AccessKind.CHANGE_ROLE:
            rules = desired.rules.roles[change.name]
            access.write_role(change.name, find_permissions(edits=bool(rules.edit)))
        case AccessKind.REMOVE_ROLE:
            access.remove_role(change.name)
        case AccessKind.ADD_USER | AccessKind.CHANGE_USER:
            access.write_user(by_name[change.name])
        case AccessKind.END_USER:
            access.end_user(change.name)
        case AccessKind.CHANGE_LIST:
            pass  # all lists are written together


def describe(change: AccessChange) -> AuditEntry:
    """Return the entry of a change in the audit log. Who ran the command has an entry of the command."""
    return AuditEntry(
        id=str(uuid.uuid4()),
        source=AuditSource.AIRFLEET,
        actor="fleet.yaml",
        action=f"access {change.kind} {change.name}",
        outcome=AuditOutcome.DONE,
        detail={"what": change.what},
    )
