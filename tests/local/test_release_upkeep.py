"""Commands that judge a Dag by its last parse, on a real metadata database: none takes a live Dag for an old one."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from deadline import wait_until
from shops import Shop

pytestmark = pytest.mark.local


def age(shop: Shop) -> None:
    """Change the database so that the last promotion and the last parse are forty days old."""
    days = "interval '40 days'"
    for table, column in (("dag", "last_parsed_time"), ("dag_version", "created_at")):
        statement = f"UPDATE {table} SET {column} = now() - {days} WHERE bundle_name = %s"  # noqa: S608 - as above
        shop.database.query(statement, shop.name)


def add_old_run(shop: Shop, dag: str) -> None:
    """Add an old scheduled run of a Dag, as Airflow leaves it. Its task instance refers to the Dag's version."""
    run = uuid.uuid4().hex
    shop.database.query(
        "INSERT INTO dag_run (dag_id, run_id, run_type, run_after, state, start_date) "
        "VALUES (%s, %s, 'scheduled', now(), 'success', now() - interval '50 days')",
        dag,
        run,
    )
    shop.database.query(
        "INSERT INTO task_instance "
        "(id, task_id, dag_id, run_id, try_number, pool, pool_slots, state, dag_version_id) "
        "SELECT %s, 'first', dag_id, %s, 1, 'default_pool', 1, 'success', id FROM dag_version "
        "WHERE dag_id = %s LIMIT 1",
        uuid.uuid4(),
        run,
        dag,
    )


def clean(shop: Shop) -> None:
    """Run `airflow db clean`, as the cron job of an operator does."""
    month = (datetime.now(UTC) - timedelta(days=30)).isoformat()
    words = ("--clean-before-timestamp", month, "--skip-archive", "--yes", "--error-on-cleanup-failure")
    shop.database.airflow("db", "clean", *words)


def test_db_clean_removes_no_live_dag_and_works_to_its_end(shop: Shop) -> None:
    shop.deploy(shop.build())
    (shop.project / "dags" / "d19.py").unlink()
    (shop.project / "dags" / "d18.py").unlink()
    shop.deploy(shop.build())
    shop.kill()
    age(shop)
    add_old_run(shop, f"{shop.name}_d01")
    add_old_run(shop, f"{shop.name}_d18")  # which is gone; its last run is kept, and with it the version
    shop.database.query("INSERT INTO log (dttm, event) VALUES (now() - interval '40 days', 'ancient')")
    before = shop.versions()

    clean(shop)

    after = shop.versions()
    assert after.keys() == before.keys() - {"d19"}
    assert not [name for name, (_, is_stale, _, _) in after.items() if is_stale and name != "d18"]
    assert shop.database.query("SELECT 1 FROM log WHERE event = 'ancient'") == []


def test_the_releaser_says_what_is_live_and_publishes_again_what_is_lost(shop: Shop) -> None:
    shop.deploy(shop.build())
    before, hashes = shop.versions(), shop.hashes()
    shop.kill()
    age(shop)
    lost, stale = (f"{shop.name}_{name}" for name in ("d03", "d04"))
    shop.database.query("DELETE FROM dag_version WHERE dag_id = %s", lost)
    shop.database.query("DELETE FROM dag WHERE dag_id = %s", lost)
    shop.database.query("UPDATE dag SET is_stale = true WHERE dag_id = %s", stale)

    shop.start()

    live = {name: row[:2] for name, row in before.items()}
    wait_until(
        lambda: shop.hashes() == hashes and {name: row[:2] for name, row in shop.versions().items()} == live,
        "the lost Dags",
        seen=lambda: (shop.versions(), shop.log()),
    )
    old = "SELECT dag_id FROM dag WHERE bundle_name = %s AND last_parsed_time < now() - interval '1 day'"
    wait_until(lambda: shop.database.query(old, shop.name) == [], "fresh times")
    assert shop.executed() == {f"d{n:02}": 1 for n in range(20)}, "nothing is parsed again for it"


def test_reserialize_leaves_everything_as_it_is(shop: Shop) -> None:
    shop.deploy(shop.build())
    before, hashes = shop.versions(), shop.hashes()
    shop.database.airflow("dags", "reserialize")
    assert (shop.versions(), shop.hashes()) == (before, hashes)
