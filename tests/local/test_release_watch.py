"""The watch after a promotion: a bad release is rolled back without an operator, once, with the reason."""

from __future__ import annotations

import pytest

from airfleet_provider.contract import release_archive
from deadline import wait_until
from shops import Shop

pytestmark = pytest.mark.local


@pytest.fixture
def pair(kiosk: Shop) -> tuple[str, str]:
    """Two releases: the first is live, the second has another task in d00 and no d02."""
    old = kiosk.build()
    kiosk.deploy(old)
    kiosk.write("d00", task="other")
    (kiosk.project / "dags" / "d02.py").unlink()
    return old, kiosk.build()


def read_rollback(kiosk: Shop) -> tuple[str, str, str, str]:
    """Return state, actor, reason and release of the last rollback."""
    return kiosk.database.query(
        "SELECT state, actor, reason, release FROM airfleet.deployment "
        "WHERE bundle = %s AND action = 'rollback' ORDER BY id DESC LIMIT 1",
        kiosk.name,
    )[0]


def end_watch(kiosk: Shop, deployment: int) -> None:
    """Let the time of a watch be over. A short watch could end before the test has added its task attempts."""
    kiosk.database.query("UPDATE airfleet.deployment SET watch_until = now() WHERE id = %s", deployment)


def test_a_good_release_stays_and_the_row_says_so(kiosk: Shop, pair: tuple[str, str]) -> None:
    _, new = pair
    asked = kiosk.watch(new, 600)
    kiosk.run("d00", new, "success", "success")
    end_watch(kiosk, asked)
    assert kiosk.await_verdict(asked) == ("done", "the release stays: in 600 s 2 task attempts ended, 0 of them failed")
    assert kiosk.live() == new


def test_files_that_do_not_load_take_it_back(kiosk: Shop, pair: tuple[str, str]) -> None:
    old, _ = pair
    kiosk.write("d01", more="import no_such_module")
    asked = kiosk.watch(kiosk.build(), 600, allow_errors=True)
    state, why = kiosk.await_verdict(asked)
    assert (state, why) == (
        "failed",
        f"back to {release_archive.shorten(old)}: dags/d01.py has failed to load since the release went live",
    )
    kiosk.await_live(old)
    assert kiosk.database.query("SELECT filename FROM import_error WHERE bundle_name = %s", kiosk.name) == []
    assert read_rollback(kiosk) == ("done", "airfleet", why, old)


def test_the_way_back_leads_to_other_files_also_past_an_id_of_an_earlier_version(kiosk: Shop) -> None:
    one = kiosk.build()
    kiosk.deploy(one)
    kiosk.write("d01", more="import no_such_module")
    two = kiosk.build()
    former = release_archive.shorten(two)
    kiosk.database.query("UPDATE airfleet.release SET id = %s WHERE id = %s", former, two)
    kiosk.deploy(former, allow_errors=True)
    assert kiosk.build() == two
    kiosk.database.query("DELETE FROM import_error WHERE bundle_name = %s", kiosk.name)
    state, why = kiosk.await_verdict(kiosk.watch(two, 600, allow_errors=True))
    assert (state, why) == (
        "failed",
        f"back to {release_archive.shorten(one)}: dags/d01.py has failed to load since the release went live",
    )
    kiosk.await_live(one)


def test_the_release_before_is_never_one_that_was_taken_back(kiosk: Shop, pair: tuple[str, str]) -> None:
    first, second = pair
    kiosk.deploy(second)
    kiosk.write("d01", more="import no_such_module")
    kiosk.await_verdict(kiosk.watch(kiosk.build(), 600, allow_errors=True))
    kiosk.await_live(second)
    kiosk.deploy(None, "rollback")
    assert kiosk.live() == first
    kiosk.deploy(None, "rollback")
    assert kiosk.live() == second


def test_a_dag_that_goes_while_it_runs_takes_it_back(kiosk: Shop, pair: tuple[str, str]) -> None:
    old, new = pair
    kiosk.run("d02", old, state="running")
    state, why = kiosk.await_verdict(kiosk.watch(new, 600))
    assert (state, why) == (
        "failed",
        f"back to {release_archive.shorten(old)}: {kiosk.name}_d02 is gone, and 1 of its runs never ended",
    )
    kiosk.await_live(old)
    assert kiosk.versions()["d02"][1] is False


def test_tasks_that_fail_more_than_before_take_it_back_and_it_is_not_undone(kiosk: Shop, pair: tuple[str, str]) -> None:
    old, new = pair
    kiosk.run("d00", old, "success", "success", "success", "failed")
    asked = kiosk.watch(new, 600)
    kiosk.run("d00", new, "success", "failed", "failed", "failed")
    state, why = kiosk.await_verdict(asked)
    assert state == "failed"
    assert why.startswith(
        f"back to {release_archive.shorten(old)}: 3 of 4 task attempts failed (75%), {kiosk.name}_d00 first"
    )
    assert why.endswith("it was 25% for these Dags")
    kiosk.await_live(old)
    wait_until(lambda: read_rollback(kiosk)[0] == "done", "the way back")
    for _ in range(3):
        kiosk.run("d00", old, "failed", "failed")
    kiosk.deploy(old)  # whatever a watch of the way back would have done is done by now
    assert kiosk.live() == old


def test_a_dag_that_always_failed_is_no_reason(kiosk: Shop, pair: tuple[str, str]) -> None:
    old, new = pair
    kiosk.run("d01", old, "failed", "failed")
    asked = kiosk.watch(new, 600)
    kiosk.run("d01", new, "failed", "failed", "failed", "failed")
    end_watch(kiosk, asked)
    assert kiosk.await_verdict(asked)[0] == "done"
    assert kiosk.live() == new


def test_a_later_promotion_ends_the_watch_of_the_one_before(kiosk: Shop, pair: tuple[str, str]) -> None:
    _, new = pair
    first = kiosk.watch(new, 600)
    kiosk.write("d01", task="other")
    newest = kiosk.build()
    second = kiosk.watch(newest, 600)
    assert kiosk.await_verdict(first) == ("done", "another release went live before the watch was over")
    kiosk.run("d00", new, *["success"] * 9)
    kiosk.run("d00", newest, *["failed"] * 9)
    state, why = kiosk.await_verdict(second)
    assert (state, why.split(":")[0]) == ("failed", f"back to {release_archive.shorten(new)}")
    kiosk.await_live(new)


def test_a_way_back_that_was_overtaken_does_nothing(kiosk: Shop, pair: tuple[str, str]) -> None:
    old, new = pair
    watched = kiosk.watch(new, 600)
    kiosk.write("d01", task="other")
    newest = kiosk.build()
    kiosk.deploy(newest)
    state, detail = kiosk.wait(kiosk.ask(old, "rollback", undo=watched))
    assert (state, detail["message"]) == ("failed", "a later deployment of the same bundle is done already")
    assert kiosk.live() == newest


def test_killed_while_it_watches_it_watches_on(kiosk: Shop, pair: tuple[str, str]) -> None:
    old, new = pair
    asked = kiosk.watch(new, 600)
    until = kiosk.database.query("SELECT watch_until FROM airfleet.deployment WHERE id = %s", asked)
    kiosk.kill()
    kiosk.run("d00", new, *["failed"] * 9)
    kiosk.start()
    assert kiosk.await_verdict(asked)[0] == "failed"
    assert kiosk.database.query("SELECT watch_until FROM airfleet.deployment WHERE id = %s", asked) == until
    kiosk.await_live(old)


def test_killed_between_the_verdict_and_the_way_back_it_goes_back(kiosk: Shop, pair: tuple[str, str]) -> None:
    old, new = pair
    asked = kiosk.watch(new, 600)
    kiosk.kill()
    kiosk.database.query(
        "WITH ended AS (UPDATE airfleet.deployment SET state = 'failed', verdict = 'why' WHERE id = %s RETURNING id) "
        "INSERT INTO airfleet.deployment (bundle, release, action, actor, reason, detail) "
        "SELECT %s, %s, 'rollback', 'airfleet', 'why', jsonb_build_object('undo', id) FROM ended",
        asked,
        kiosk.name,
        old,
    )
    kiosk.start()
    kiosk.await_live(old)


def test_a_watch_over_while_nobody_looked_still_judges_what_happened(kiosk: Shop, pair: tuple[str, str]) -> None:
    old, new = pair
    asked = kiosk.watch(new, 600)
    kiosk.kill()
    kiosk.run("d00", new, *["failed"] * 9)
    end_watch(kiosk, asked)
    kiosk.start()
    assert kiosk.await_verdict(asked)[0] == "failed"
    kiosk.await_live(old)


def test_the_first_release_has_nothing_to_go_back_to(kiosk: Shop) -> None:
    assert kiosk.wait(kiosk.ask(kiosk.build(), watch=600))[0] == "done"


def test_making_live_what_is_live_leaves_its_watch_alone(kiosk: Shop, pair: tuple[str, str]) -> None:
    old, new = pair
    asked = kiosk.watch(new, 600)
    assert kiosk.wait(kiosk.ask(new, watch=600))[0] == "done"
    kiosk.run("d00", new, *["failed"] * 9)
    assert kiosk.await_verdict(asked)[0] == "failed"
    kiosk.await_live(old)
