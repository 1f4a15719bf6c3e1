"""A PostgreSQL that somebody else runs: what its URL may say, and what is found missing on a real server."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from airfleet.components.model import OwnDatabase
from airfleet.errors import AirfleetError, UsageError
from airfleet.peers import database as own_database
from airfleet.peers.connection import connect
from airfleet.runners.local import own_tables
from airfleet.spec.secrets import Secret
from airfleet.workspace.diagnosis import Diagnosis
from airfleet_provider.contract import database_claim
from airfleet_provider.contract.database_claim import ClaimedError
from airfleet_provider.contract.migrations import runner
from deadline import wait_until
from own_servers import OWNER, PASSWORD, make_owned, serve_with_passwords
from servers import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve_with_passwords() as own:
        yield own


@pytest.fixture
def database(server: Server) -> Iterator[OwnDatabase]:
    """A database with an owner, as a DBA makes it."""
    with make_owned(server) as own:
        yield own


def examine(database: OwnDatabase, *, instance: str = "a", connections: int = 20) -> list[Diagnosis]:
    return own_database.examine(database, instance, connections=connections)


def list_wrong(found: list[Diagnosis]) -> list[tuple[str, str]]:
    return [(one.level, one.what) for one in found if one.level != "ok"]


def test_a_database_with_an_owner_is_all_that_is_needed(database: OwnDatabase) -> None:
    found = [one for one in list_wrong(examine(database)) if "round trip" not in one[1]]  # a busy machine is slow
    assert found == []
    warnings: list[str] = []
    own_database.require(database, "a", connections=20, warn=warnings.append)


def test_the_connections_of_a_platform_that_runs_leave_it_its_room(server: Server, database: OwnDatabase) -> None:
    [(most,)] = server.query(
        "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
    )
    with ExitStack() as stack:
        for _ in range(15):
            stack.enter_context(connect(database))
        assert not [one for one in examine(database, connections=most - 10) if "room for" in one.what]


@pytest.mark.parametrize(
    ("before", "level", "what", "hint"),
    [
        ("ALTER DATABASE metadata OWNER TO postgres", "error", "may not make its tables", "GRANT CREATE ON DATABASE"),
        (f'ALTER ROLE "{OWNER}" SET default_transaction_read_only = on', "error", "read_only is on", "ALTER ROLE"),
        (
            f"ALTER ROLE \"{OWNER}\" SET default_transaction_isolation = 'serializable'",
            "error",
            "isolation is serializable",
            "ALTER ROLE",
        ),
        (f"ALTER ROLE \"{OWNER}\" SET statement_timeout = '30s'", "warning", "statement_timeout is 30s", "ALTER ROLE"),
        (f'ALTER ROLE "{OWNER}" CONNECTION LIMIT 5', "warning", "room for 5 more", "raise max_connections"),
        (f"ALTER ROLE \"{OWNER}\" PASSWORD 'another'", "error", "refuses the login", "pg_hba.conf"),
    ],
)
def test_what_is_missing_is_told_with_what_its_owner_can_do(
    server: Server, database: OwnDatabase, before: str, level: str, what: str, hint: str
) -> None:
    server.query(before)
    found = [one for one in examine(database) if what in one.what]
    assert [one.level for one in found] == [level], examine(database)
    assert hint in found[0].hint
    assert PASSWORD not in str(examine(database))
    if level == "error":
        with pytest.raises(AirfleetError, match=what):
            own_database.require(database, "a", connections=20, warn=lambda _: None)


def test_airfleet_makes_its_tables_and_notes_whose_they_are(
    database: OwnDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLEET_OWN_DATABASE", database.dsn().reveal())
    monkeypatch.setenv("AIRFLEET_OWN_INSTANCE", "a")
    own_tables.main()
    own_tables.main()
    with connect(database) as connection:
        assert connection.execute("SHOW timezone").fetchone() == ("UTC",)
        assert connection.execute("SELECT count(*) FROM airfleet.seat").fetchone() == (0,)
    assert "another platform" not in str(examine(database))
    assert "another platform works with this database" in str(list_wrong(examine(database, instance="b")))


def test_another_platform_is_refused_before_anything_is_made(
    database: OwnDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(database) as connection:
        database_claim.claim(runner.execute_on(connection), "it's b")
        database_claim.claim(runner.execute_on(connection), "it's b")
        monkeypatch.setenv("AIRFLEET_OWN_DATABASE", database.dsn().reveal())
        monkeypatch.setenv("AIRFLEET_OWN_INSTANCE", "a")
        with pytest.raises(SystemExit, match="another platform works with this database"):
            own_tables.main()
        assert connection.execute("SELECT to_regclass('airfleet.seat')").fetchone() == (None,)
    assert "another platform" not in str(examine(database, instance="it's b"))


def test_of_two_first_applies_at_once_one_claims_the_database(server: Server, database: OwnDatabase) -> None:
    """The second one begins while the first one has not committed yet."""
    refused: list[BaseException] = []

    def claim_second(second: psycopg.Connection) -> None:
        try:
            database_claim.claim(runner.execute_on(second), "b")
        except ClaimedError as error:
            refused.append(error)

    with connect(database) as first, connect(database) as second:
        execute = runner.execute_on(first)
        thread = threading.Thread(target=claim_second, args=(second,))

        def wait_for_second(statement: str) -> Sequence[Sequence[object]]:
            if statement.startswith("CREATE"):
                thread.start()
                waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND pid = {}"
                asked = waiting.format(second.info.backend_pid)
                wait_until(lambda: server.query(asked)[0][0], "the second platform waits for the first one")
            return execute(statement)

        database_claim.claim(wait_for_second, "a")
        thread.join()
        assert [str(one) for one in refused] == ["another platform works with this database"]
        assert execute(database_claim.READ)[0][0] == "the platform a"
        assert second.execute("SELECT 1").fetchone() == (1,), "the refused one is in no transaction any more"


def test_a_pool_of_transactions_is_noticed_by_the_notice_that_it_loses(
    database: OwnDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_database, "NOTICE_S", 0.5)
    monkeypatch.setattr(psycopg.Connection, "notifies", lambda *_, **__: iter(()))
    assert ("error", "a NOTIFY does not arrive: a pool of transactions is in between") in list_wrong(examine(database))


def test_an_address_at_which_nobody_answers_is_told() -> None:
    nobody = OwnDatabase("127.0.0.1", 1, "metadata", "team", Secret(PASSWORD))
    [found] = examine(nobody)
    assert (found.level, PASSWORD in found.what) == ("error", False)
    assert found.what.startswith("127.0.0.1:1 does not answer: ")


def test_the_url_for_each_driver_has_the_login_as_it_is(tmp_path: Path) -> None:
    authorities = tmp_path / "ca.pem"
    authorities.touch()
    url = (
        f"postgresql://team%20af:p%40ss%2Fw%3Ard%25@db.example:6543/meta?sslmode=verify-full&sslrootcert={authorities}"
    )
    found = own_database.read(Secret(url))
    words = conninfo_to_dict(found.dsn().reveal())
    assert (words["user"], words["password"], words["dbname"], words["port"]) == (OWNER, PASSWORD, "meta", "6543")
    assert (words["sslmode"], words["sslrootcert"]) == ("verify-full", str(authorities))
    assert "keepalives" not in found.dsn(driver="asyncpg").reveal(), "asyncpg has no such option"


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("mysql://u:secret@h/d", "no URL of PostgreSQL"),
        ("postgresql://h/d", "names no user and no password"),
        ("postgresql://u:secret@h", "names no dbname"),
        ("postgresql://u:secret@a,b/d", "several servers"),
        ("postgresql://u:secret@h/d?options=-csearch_path%3Dx", "options"),
        ("postgresql://u:secret@h/d?sslmode=verify-full", "needs sslrootcert"),
        ("postgresql://u:secret@h/d?sslrootcert=/nowhere", "no file /nowhere"),
        ("postgresql://u:p@secret@h/d", "has an at sign"),
        ("postgresql://u:p@secret/x@h/d", "has an at sign"),
        ("postgresql://u:p%zzsecret@h/d", "no URL of PostgreSQL"),
    ],
)
def test_a_url_that_says_too_little_or_too_much_is_refused_without_its_password(url: str, what: str) -> None:
    with pytest.raises(UsageError, match=what) as refusal:
        own_database.read(Secret(url))
    assert "secret" not in str(refusal.value)
