"""Limits on failed logins, counted in the database for all web hosts, on the login page and at the token endpoint.

A login under way counts as a failure until it has succeeded, so that a burst of parallel requests cannot exceed a limit
by more than the number of web processes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from airfleet_provider.contract import audit_store
from airfleet_provider.contract.audit_log import AuditEntry, AuditOutcome
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "login_limits")

# So many failures of one address within a minute, and of one user name within a quarter of an hour.
ADDRESS_AT_MOST, ADDRESS_S = 10, 60
NAME_AT_MOST, NAME_S = 20, 900
TOO_MANY = 429
# A row has a name of this length at most, whatever was sent.
LONGEST_NAME = 250


class LimitedLoginError(Exception):
    """The address or the user name has failed too often; `wait_s` is how long at most that lasts."""

    def __init__(self, wait_s: int) -> None:
        super().__init__(f"too many failed logins; {wait_s} s")
        self.wait_s = wait_s


def begin(entry: AuditEntry) -> Callable[[Any], AuditEntry | LimitedLoginError]:
    """Return work that records the intent of a login, or that it was refused because of a limit."""

    def work(cursor: Any) -> AuditEntry | LimitedLoginError:  # noqa: ANN401 - psycopg2 has no types
        words = _name(entry)
        cursor.execute(SQL["forget"], {"seconds": max(ADDRESS_S, NAME_S)})
        cursor.execute(SQL["count"], {**words, "address_s": ADDRESS_S, "name_s": NAME_S})
        of_address, of_name = cursor.fetchone()
        limit = NAME_S if of_name >= NAME_AT_MOST else ADDRESS_S if of_address >= ADDRESS_AT_MOST else 0
        if limit:
            why = "name" if limit == NAME_S else "address"
            refused = replace(entry, outcome=AuditOutcome.REFUSED, status=TOO_MANY, detail={"limit": why})
            audit_store.record(cursor.execute, refused)
            return LimitedLoginError(limit)
        cursor.execute(SQL["note"], words)
        audit_store.begin(cursor.execute, entry)
        return entry

    return work


def settle(entry: AuditEntry) -> Callable[[Any], None]:
    """Return work that records the outcome of a login. Only a wrong password stays a failure."""

    def work(cursor: Any) -> None:  # noqa: ANN401 - as above
        if entry.outcome is not AuditOutcome.REFUSED:
            cursor.execute(SQL["forgive"], {**_name(entry), "is_done": entry.outcome is AuditOutcome.DONE})
        audit_store.settle(cursor.execute, entry)

    return work


def withdraw(entry: AuditEntry) -> Callable[[Any], None]:
    """Return work that removes the intent of a login that was not tried. It counts for no limit."""

    def work(cursor: Any) -> None:  # noqa: ANN401 - as above
        cursor.execute(SQL["forgive"], {**_name(entry), "is_done": False})
        audit_store.withdraw(cursor.execute, entry)

    return work


def find_network(address: str) -> str:
    """Return the addresses that count as one: who has an address of IPv6 has the 2^64 of its network."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:LONGEST_NAME]
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))


def _name(entry: AuditEntry) -> dict[str, str]:
    address = find_network(entry.address)
    return {"id": entry.id, "address": address, "name": entry.actor.replace("\0", "")[:LONGEST_NAME].lower()}
