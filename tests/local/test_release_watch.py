"""What happens after a promotion: a bad release goes back by itself, once, and says why."""

from __future__ import annotations

import pytest

from deadline import wait_until
from shops import Shop

pytestmark = pytest.mark.local


@pytest.fixture
def pair(shop: Shop) -> tuple[str, str]:
    """Two releases: the first is live, the second has another task in d00 and no d19."""
    old = shop.build()
    shop.deploy(old)
    shop.write("d00", task="other")
    (shop.project / "dags" / "d19.py").unlink()
    return old, shop.build()


def read_rollback(shop: Shop) -> tuple[str, str, str, str]:
    """State, actor, reason and release of the last way back."""
    return shop.database.query(
        "SELECT state, actor, reason, release FROM airfleet.deployment "
        "WHERE bundle = %s AND action = 'rollback' ORDER BY id DESC LIMIT 1",
        shop.name,
    )[0]


def test_a_good_release_stays_and_the_row_says_so(shop: Shop, pair: tuple[str, str]) -> None:
    _, new = pair
    asked = shop.watch(new, 1)
    shop.run("d00", new, "success", "success")
    assert shop.await_verdict(asked) == ("done", "it stays: in 1 s 2 task attempts ended, 0 of them badly")
    assert shop.live() == new


def test_files_that_do_not_load_take_it_back(shop: Shop, pair: tuple[str, str]) -> None:
    old, _ = pair
    shop.write("d05", more="import no_such_module")
    asked = shop.watch(shop.build(), 600, allow_errors=True)
    state, why = shop.await_verdict(asked)
    assert (state, why) == ("failed", f"back to {old}: dags/d05.py does not load since it is live")
    shop.await_live(old)
    assert shop.database.query("SELECT filename FROM import_error WHERE bundle_name = %s", shop.name) == []
    assert read_rollback(shop) == ("done", "airfleet", why, old)


def test_a_dag_that_goes_while_it_runs_takes_it_back(shop: Shop, pair: tuple[str, str]) -> None:
    old, new = pair
    shop.run("d19", old, state="running")
    state, why = shop.await_verdict(shop.watch(new, 600))
    assert (state, why) == ("failed", f"back to {old}: {shop.name}_d19 is gone, and 1 of its runs never ended")
    shop.await_live(old)
    assert shop.versions()["d19"][1] is False


def test_tasks_that_fail_more_than_before_take_it_back_and_it_is_not_undone(shop: Shop, pair: tuple[str, str]) -> None:
    old, new = pair
    shop.run("d00", old, "success", "success", "success", "failed")
    asked = shop.watch(new, 600)
    shop.run("d00", new, "success", "failed", "failed", "failed")
    state, why = shop.await_verdict(asked)
    assert state == "failed"
    assert why.startswith(f"back to {old}: 3 of 4 task attempts failed (75%), {shop.name}_d00 first")
    assert why.endswith("it was 25% for these Dags")
    shop.await_live(old)
    wait_until(lambda: read_rollback(shop)[0] == "done", "the way back", timeout_s=30)
    for _ in range(3):
        shop.run("d00", old, "failed", "failed")
    shop.deploy(old)  # whatever a watch of the way back would have done is done by now
    assert shop.live() == old


def test_a_dag_that_always_failed_is_no_reason(shop: Shop, pair: tuple[str, str]) -> None:
    old, new = pair
    shop.run("d01", old, "failed", "failed")
    asked = shop.watch(new, 2)
    shop.run("d01", new, "failed", "failed", "failed", "failed")
    assert shop.await_verdict(asked)[0] == "done"
    assert shop.live() == new


def test_a_later_promotion_ends_the_watch_of_the_one_before(shop: Shop, pair: tuple[str, str]) -> None:
    _, new = pair
    first = shop.watch(new, 600)
    shop.write("d01", task="other")
    newest = shop.build()
    second = shop.watch(newest, 600)
    assert shop.await_verdict(first) == ("done", "another release went live before the watch was over")
    shop.run("d00", new, *["success"] * 9)
    shop.run("d00", newest, *["failed"] * 9)
    state, why = shop.await_verdict(second)
    assert (state, why.split(":")[0]) == ("failed", f"back to {new}")
    shop.await_live(new)


def test_a_way_back_that_was_overtaken_does_nothing(shop: Shop, pair: tuple[str, str]) -> None:
    old, new = pair
    watched = shop.watch(new, 600)
    shop.write("d01", task="other")
    newest = shop.build()
    shop.deploy(newest)
    state, detail = shop.wait(shop.ask(old, "rollback", undo=watched))
    assert (state, detail["message"]) == ("failed", "a later deployment of the same bundle is done already")
    assert shop.live() == newest


def test_killed_while_it_watches_it_watches_on(shop: Shop, pair: tuple[str, str]) -> None:
    old, new = pair
    asked = shop.watch(new, 600)
    until = shop.database.query("SELECT watch_until FROM airfleet.deployment WHERE id = %s", asked)
    shop.kill()
    shop.run("d00", new, *["failed"] * 9)
    shop.start()
    assert shop.await_verdict(asked)[0] == "failed"
    assert shop.database.query("SELECT watch_until FROM airfleet.deployment WHERE id = %s", asked) == until
    shop.await_live(old)


def test_killed_between_the_verdict_and_the_way_back_it_goes_back(shop: Shop, pair: tuple[str, str]) -> None:
    old, new = pair
    asked = shop.watch(new, 600)
    shop.kill()
    shop.database.query(
        "WITH ended AS (UPDATE airfleet.deployment SET state = 'failed', verdict = 'why' WHERE id = %s RETURNING id) "
        "INSERT INTO airfleet.deployment (bundle, release, action, actor, reason, detail) "
        "SELECT %s, %s, 'rollback', 'airfleet', 'why', jsonb_build_object('undo', id) FROM ended",
        asked,
        shop.name,
        old,
    )
    shop.start()
    shop.await_live(old)


def test_a_watch_over_while_nobody_looked_still_judges_what_happened(shop: Shop, pair: tuple[str, str]) -> None:
    old, new = pair
    asked = shop.watch(new, 600)
    shop.kill()
    shop.run("d00", new, *["failed"] * 9)
    shop.database.query("UPDATE airfleet.deployment SET watch_until = now() WHERE id = %s", asked)
    shop.start()
    assert shop.await_verdict(asked)[0] == "failed"
    shop.await_live(old)


def test_the_first_release_has_nothing_to_go_back_to(shop: Shop) -> None:
    assert shop.wait(shop.ask(shop.build(), watch=600))[0] == "done"


def test_making_live_what_is_live_leaves_its_watch_alone(shop: Shop, pair: tuple[str, str]) -> None:
    old, new = pair
    asked = shop.watch(new, 600)
    assert shop.wait(shop.ask(new, watch=600))[0] == "done"
    shop.run("d00", new, *["failed"] * 9)
    assert shop.await_verdict(asked)[0] == "failed"
    shop.await_live(old)
