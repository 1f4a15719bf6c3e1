"""Failed logins, counted in a real PostgreSQL for all web hosts."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace

import psycopg2
import pytest

import servers
from airfleet_provider.audit import login_limits
from airfleet_provider.audit.login_limits import (
    ADDRESS_AT_MOST,
    ADDRESS_S,
    KNOWN_DAYS,
    NAME_AT_MOST,
    NAME_S,
    PAIR_AT_MOST,
    LimitedLoginError,
)
from airfleet_provider.contract.audit_log import AuditEntry, AuditOutcome, AuditSource


class Door:
    """The way in, as any web host has it."""

    def __init__(self, connection: object) -> None:
        self._connection = connection

    def try_login(
        self,
        name: str,
        address: str,
        outcome: AuditOutcome = AuditOutcome.REFUSED,
        *,
        action: str = "POST /auth/token",
        found: str = "",
    ) -> bool:
        """Try to log in, with an outcome if there is no limit; return whether there was none.

        `found` is the user who is known after it.
        """
        entry = AuditEntry(
            id=str(uuid.uuid4()),
            source=AuditSource.API,
            actor=name,
            address=address,
            action=action,
            outcome=AuditOutcome.BEGUN,
        )
        with self._connection.cursor() as cursor:  # type: ignore[attr-defined]
            begun = login_limits.begin(entry)(cursor)
            if not isinstance(begun, LimitedLoginError):
                login_limits.settle(replace(begun, outcome=outcome, actor=found or name))(cursor)
        return not isinstance(begun, LimitedLoginError)

    def guess(self, name: str, address: str, count: int) -> int:
        """Guess a password from one address, as slowly as the limit of an address wants; return how often it went."""
        tried = 0
        for _ in range(count):
            tried += self.try_login(name, address)
            with self._connection.cursor() as cursor:  # type: ignore[attr-defined]
                cursor.execute(
                    "UPDATE airfleet.login_failure SET failed_at = failed_at - interval '7 s' WHERE address = %s",
                    (address,),
                )
        return tried

    def age(self, seconds: float) -> None:
        """Let time pass for the failures so far."""
        with self._connection.cursor() as cursor:  # type: ignore[attr-defined]
            cursor.execute(
                "UPDATE airfleet.login_failure SET failed_at = failed_at - make_interval(secs => %s)", (seconds,)
            )
            cursor.execute("UPDATE airfleet.login_place SET seen_at = seen_at - make_interval(secs => %s)", (seconds,))


@pytest.fixture
def door(server: servers.Server) -> Iterator[Door]:
    connection = psycopg2.connect(server.dsn)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE airfleet.login_failure, airfleet.login_place")
        # As FAB has it, as far as a login looks.
        cursor.execute("CREATE TABLE ab_user (username text, email text)")
        cursor.execute("INSERT INTO ab_user VALUES ('Alice', 'Alice@Example.com'), ('bob', 'bob@example.com')")
    yield Door(connection)
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE ab_user")
    connection.close()


def test_an_address_that_guesses_waits_a_minute_and_others_do_not(door: Door) -> None:
    assert [door.try_login(f"user{n}", "10.0.0.1") for n in range(ADDRESS_AT_MOST + 2)] == [*[True] * 10, False, False]
    assert not door.try_login("alice", "10.0.0.1", AuditOutcome.DONE), "the right password does not help meanwhile"
    assert door.try_login("alice", "10.0.0.2", AuditOutcome.DONE)
    door.age(ADDRESS_S + 1)
    assert door.try_login("alice", "10.0.0.1", AuditOutcome.DONE)


def test_who_guesses_from_one_address_locks_the_user_out_there_alone(door: Door) -> None:
    assert door.guess("alice", "10.0.0.66", 2 * PAIR_AT_MOST) == PAIR_AT_MOST
    assert not door.try_login("Alice", "10.0.0.66", AuditOutcome.DONE)
    assert door.try_login("alice", "10.0.0.2", AuditOutcome.DONE)
    assert door.try_login("bob", "10.0.0.66", AuditOutcome.DONE)


def test_who_guesses_from_many_addresses_locks_no_place_that_the_user_logs_in_from(door: Door) -> None:
    assert door.try_login("alice", "10.0.0.2", AuditOutcome.DONE)
    assert all(door.try_login("alice", f"10.0.1.{n}") for n in range(NAME_AT_MOST))
    assert not door.try_login("Alice", "10.0.0.3", AuditOutcome.DONE)
    assert door.try_login("alice", "10.0.0.2", AuditOutcome.DONE)
    assert door.try_login("bob", "10.0.0.3", AuditOutcome.DONE)
    door.age(NAME_S + 1)
    assert door.try_login("alice", "10.0.0.3", AuditOutcome.DONE)


def test_a_place_counts_as_the_users_own_for_a_month(door: Door) -> None:
    assert door.try_login("alice", "10.0.0.2", AuditOutcome.DONE)
    door.age(KNOWN_DAYS * 86_400 + 60)
    assert all(door.try_login("alice", f"10.0.1.{n}") for n in range(NAME_AT_MOST))
    assert not door.try_login("alice", "10.0.0.2", AuditOutcome.DONE)


def test_logins_that_succeed_and_outages_never_count(door: Door) -> None:
    assert all(door.try_login("alice", "10.0.0.1", AuditOutcome.DONE) for _ in range(3 * NAME_AT_MOST))
    assert all(door.try_login("alice", "10.0.0.1", AuditOutcome.FAILED) for _ in range(3 * NAME_AT_MOST))


def test_a_slip_is_forgiven_after_the_right_password(door: Door) -> None:
    for _ in range(5):
        assert all(door.try_login("alice", "10.0.0.1") for _ in range(ADDRESS_AT_MOST - 1))
        assert door.try_login("alice", "10.0.0.1", AuditOutcome.DONE)


def test_guesses_at_the_address_and_at_the_name_of_a_user_are_counted_together(door: Door) -> None:
    half = PAIR_AT_MOST // 2
    assert (
        door.guess("alice", "10.0.0.66", half) + door.guess("alice@example.COM", "10.0.0.66", PAIR_AT_MOST) == 2 * half
    )
    assert not door.try_login("alice", "10.0.0.66", AuditOutcome.DONE)


def test_who_logs_in_with_the_e_mail_address_keeps_the_places_of_the_user(door: Door) -> None:
    # The login page settles a login under the name of the user, whatever was written.
    assert door.try_login("alice", "10.0.0.2", AuditOutcome.DONE)
    assert all(door.try_login("alice@example.com", f"10.0.1.{n}") for n in range(NAME_AT_MOST))
    assert not door.try_login("alice@example.com", "10.0.0.3", AuditOutcome.DONE)
    assert door.try_login("alice@example.com", "10.0.0.2", AuditOutcome.DONE)


def test_returns_from_an_openid_provider_count_for_their_address_alone(door: Door) -> None:
    back = "GET /auth/oauth-authorized/oidc"
    tried = [door.try_login("", "10.0.0.1", action=back) for _ in range(ADDRESS_AT_MOST + 2)]
    assert tried == [True] * ADDRESS_AT_MOST + [False] * 2
    assert door.try_login("", "10.0.0.2", action=back)
    assert not door.try_login("alice", "10.0.0.1"), "the form at this address waits, too"
    door.age(ADDRESS_S)
    assert door.try_login("", "10.0.0.1", action=back)
    # Nobody who comes back is the same nobody: a hundred of them lock nobody out.
    for number in range(NAME_AT_MOST):
        assert door.try_login("", f"10.1.0.{number}", action=back)
    assert door.try_login("", "10.2.0.1", AuditOutcome.DONE, action=back, found="Alice")
    assert door.try_login("", "10.2.0.2", action="POST /auth/token")


def test_who_comes_back_from_a_provider_knows_the_place_from_then_on(door: Door) -> None:
    for _ in range(2 * ADDRESS_AT_MOST):
        assert door.try_login(
            "", "10.0.0.1", AuditOutcome.DONE, action="GET /auth/oauth-authorized/oidc", found="Alice"
        ), "a login that succeeds counts for nothing"
    for number in range(NAME_AT_MOST):
        door.try_login("alice", f"10.1.0.{number}")
    assert door.try_login("alice", "10.0.0.1")
    assert not door.try_login("alice", "10.0.0.2")
