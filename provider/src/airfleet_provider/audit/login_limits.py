"""Limits on failed logins, counted in the database for all web hosts, on the login page and at the token endpoint.

A login under way counts as a failure until it has succeeded, so that a burst of parallel requests cannot exceed a limit
by more than the number of web processes.

Whoever guesses the password of a user from some addresses must not lock out the user, who logs in from another one
(ADR 73). So failures count for the user name at one address, and from all addresses together only where the user has
not logged in from lately.

A user may log in with the e-mail address, too. Failures count for the user, whatever was written.

Returns from an OpenID provider count for their address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from airfleet_provider.audit.requests import is_return
from airfleet_provider.contract import audit_store
from airfleet_provider.contract.audit_log import AuditEntry, AuditOutcome
from airfleet_provider.contract.locks import PLACE_LOCK
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "login_limits")

# So many failures of one address within a minute; of one user name at one address within a quarter of an hour; and of
# one user name from all addresses within that time, which counts where the user has not logged in from lately.
ADDRESS_AT_MOST, ADDRESS_S = 10, 60
PAIR_AT_MOST, NAME_AT_MOST, NAME_S = 20, 100, 900
# An address from which a user logged in within so many days is one of the user's own.
KNOWN_DAYS = 30
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
        words = _find_words(cursor, entry)
        cursor.execute(SQL["forget"], {"seconds": max(ADDRESS_S, NAME_S)})
        cursor.execute(SQL["count"], {**words, "address_s": ADDRESS_S, "name_s": NAME_S, "known_days": KNOWN_DAYS})
        limit, why = find_limit(*cursor.fetchone())
        if limit:
            refused = replace(entry, outcome=AuditOutcome.REFUSED, status=TOO_MANY, detail={"limit": why})
            audit_store.record(cursor.execute, refused)
            return LimitedLoginError(limit)
        cursor.execute(SQL["note"], words)
        audit_store.begin(cursor.execute, entry)
        return entry

    return work


def find_limit(of_address: int, of_pair: int, of_name: int, is_known: bool) -> tuple[int, str]:
    """Return how many seconds at most a login must wait, and for which limit; 0 if it may be tried."""
    if of_pair >= PAIR_AT_MOST:
        return NAME_S, "name at this address"
    if of_name >= NAME_AT_MOST and not is_known:
        return NAME_S, "name"
    return (ADDRESS_S, "address") if of_address >= ADDRESS_AT_MOST else (0, "")


def settle(entry: AuditEntry) -> Callable[[Any], None]:
    """Return work that records the outcome of a login. Only a wrong password stays a failure."""

    def work(cursor: Any) -> None:  # noqa: ANN401 - as above
        words = _find_words(cursor, entry)
        if entry.outcome is not AuditOutcome.REFUSED:
            cursor.execute(SQL["forgive"], {**words, "is_done": entry.outcome is AuditOutcome.DONE})
        if entry.outcome is AuditOutcome.DONE:
            cursor.execute(SQL["know"], {**words, "lock": PLACE_LOCK})
        audit_store.settle(cursor.execute, entry)

    return work


def withdraw(entry: AuditEntry) -> Callable[[Any], None]:
    """Return work that removes the intent of a login that was not tried. It counts for no limit."""

    def work(cursor: Any) -> None:  # noqa: ANN401 - as above
        cursor.execute(SQL["forgive"], {**_find_words(cursor, entry), "is_done": False})
        audit_store.withdraw(cursor.execute, entry)

    return work


def forget_places(execute: audit_store.Execute) -> None:
    """Remove the places from which a user has not logged in for long; `execute` commits by itself."""
    execute(SQL["forget_places"], {"known_days": KNOWN_DAYS})


def find_network(address: str) -> str:
    """Return the addresses that count as one: who has an address of IPv6 has the 2^64 of its network."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:LONGEST_NAME]
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))


def _find_words(cursor: Any, entry: AuditEntry) -> dict[str, str]:  # noqa: ANN401 - as above
    """Return the words of the statements: the id, the addresses that count as one, and the name of the user.

    Who comes back from an OpenID provider has no name before the provider was asked. Each return has one of its own, so
    that only the limit of its address holds: nobody can lock others out by returns of nobody.
    """
    if not entry.actor and is_return(entry.action):
        return {"id": entry.id, "address": find_network(entry.address), "name": entry.id}
    typed = entry.actor.replace("\0", "")[:LONGEST_NAME]
    cursor.execute(SQL["find_user"], {"typed": typed})
    found = cursor.fetchone()
    name = found[0] if found else typed.lower()
    return {"id": entry.id, "address": find_network(entry.address), "name": name[:LONGEST_NAME]}
