"""Old releases are removed once nothing needs them, and not before."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from airfleet.errors import AirfleetError
from airfleet_provider.contract import archive_store, release_archive
from airfleet_provider.contract.release_schema import DeploymentAction
from deadline import wait_until
from shops import Shop

pytestmark = pytest.mark.local

POLICY = {"watch_seconds": 0, "keep": 2}


def make(kiosk: Shop, count: int, place: str = "database") -> list[str]:
    """Make releases that are live one after another; the last one stays live."""
    made = []
    for number in range(count):
        kiosk.write("d00", task=f"t{number}")
        made.append(kiosk.build(place))
        kiosk.deploy(made[-1], policy=POLICY)
    return made


def prune(kiosk: Shop, **detail: object) -> dict[str, Any]:
    return kiosk.deploy(None, "prune", policy=POLICY, **detail)


def have_archive(kiosk: Shop) -> set[str]:
    rows = kiosk.database.query("SELECT id FROM airfleet.release WHERE bundle = %s AND archive IS NOT NULL", kiosk.name)
    return {row[0] for row in rows}


def test_a_rollback_and_the_watch_keep_as_many_as_fleet_yaml_said_last(kiosk: Shop) -> None:
    many = {"watch_seconds": 0, "keep": 30}
    made = []
    for number in range(23):
        kiosk.write("d00", task=f"t{number}")
        made.append(kiosk.build())
        kiosk.deploy(made[-1], policy=many)
    kiosk.age()
    kiosk.deploy(None, "rollback")  # as `airfleet release rollback`, the watch and a drill ask for it
    kiosk.deploy(None, "prune", dry=True, policy={"keep": 2})  # which only asks what would be
    kiosk.deploy(made[-1], "rollback")
    assert have_archive(kiosk) == set(made)


def test_a_run_that_is_cleared_while_releases_are_collected_keeps_its_release(kiosk: Shop) -> None:
    cleared, *_ = make(kiosk, 4)
    run = kiosk.run("d00", cleared, state="success")
    kiosk.age()
    with psycopg.connect(kiosk.database.dsn) as connection:
        connection.execute("SELECT 1 FROM airfleet.release WHERE id = %s FOR UPDATE", (cleared,))
        asked = kiosk.ask(None, "prune", policy=POLICY)
        waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%FOR UPDATE%%'"
        wait_until(lambda: kiosk.database.query(waits), "the collection to come to this release")
        kiosk.database.query("UPDATE dag_run SET state = 'queued', end_date = NULL WHERE run_id = %s", run)
    assert kiosk.wait(asked)[0] == "done"
    assert cleared in have_archive(kiosk)


def test_what_nothing_needs_goes_after_a_promotion_and_by_hand(kiosk: Shop) -> None:
    running, pinned, useless, previous, live = make(kiosk, 5)
    kiosk.run("d00", running, state="running")
    kiosk.ledger.pin(pinned, pinned=True)
    kiosk.age()
    results = kiosk.database.query("SELECT key FROM airfleet.parsed")

    said = prune(kiosk, dry=True)

    assert said["kept"] == {
        live: "live",
        previous: "the one before the live one",
        pinned: "pinned",
        running: "1 unfinished runs",
    }
    assert said["gone"] == [useless]
    assert useless in have_archive(kiosk)
    assert (kiosk.folder / useless).is_dir()

    assert prune(kiosk)["gone"] == [useless]
    assert have_archive(kiosk) == {running, pinned, previous, live}
    assert {path.name for path in kiosk.folder.iterdir() if path.is_dir()} == {running, pinned, previous, live}
    left = kiosk.database.query("SELECT key FROM airfleet.parsed")
    assert set(left) < set(results)
    assert kiosk.deploy(None, "rollback")["parsed"] == 0
    with pytest.raises(AirfleetError, match="were removed"):
        kiosk.ledger.request(DeploymentAction.PROMOTE, useless, actor="ann", reason="")
    state, detail = kiosk.wait(kiosk.ask(useless))
    assert state == "failed"
    assert "were removed" in detail["message"]
    found = kiosk.ledger.find(useless)
    assert (found.collected, found.location) == (True, None)

    kiosk.ledger.pin(pinned, pinned=False)
    kiosk.age()
    kiosk.write("d01", task="newest")
    kiosk.deploy(kiosk.build(), policy=POLICY)
    wait_until(lambda: pinned not in have_archive(kiosk), "the unpinned release to go by itself")
    assert running in have_archive(kiosk)


def test_the_same_files_again_bring_a_removed_release_back(kiosk: Shop) -> None:
    old, *_ = make(kiosk, 4)
    kiosk.age()
    assert old in prune(kiosk)["gone"]
    kiosk.write("d00", task="t0")
    assert kiosk.build() == old
    kiosk.deploy(old)
    assert kiosk.live() == old
    release_archive.verify(old, kiosk.folder / old)


def test_a_store_has_the_archive_and_loses_it(kiosk: Shop) -> None:
    place = f"file://{kiosk.project}/mnt"
    old, *_ = releases = make(kiosk, 4, place)
    locations = [archive_store.locate(place, kiosk.name, release) for release in releases]
    assert have_archive(kiosk) == set()
    assert all(archive_store.holds(location) for location in locations)
    kiosk.age()
    prune(kiosk)
    assert [archive_store.holds(location) for location in locations] == [False, False, True, True]
    # Killed after it said so and before it removed the archive: it is removed the next time.
    kiosk.database.query("UPDATE airfleet.release SET location = %s WHERE id = %s", locations[0], old)
    archive_store.write(locations[0], b"left over")
    prune(kiosk)
    assert not archive_store.holds(locations[0])
    assert kiosk.ledger.find(old).location is None


def test_a_promoted_release_is_put_into_the_store_of_the_fleet(kiosk: Shop) -> None:
    one = kiosk.build()
    kiosk.kill()
    place = f"file://{kiosk.project}/mnt"
    bundle = {
        "name": kiosk.name,
        "classpath": "airfleet_provider.bundles.release_bundle.ReleaseBundle",
        "kwargs": {"store": place},
    }
    kiosk.start(AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST=json.dumps([bundle]))
    kiosk.deploy(one)
    location = archive_store.locate(place, kiosk.name, one)
    assert kiosk.ledger.find(one).location == location
    assert have_archive(kiosk) == set()
    release_archive.unpack(one, archive_store.read(location), kiosk.project / "elsewhere" / one)


def test_a_host_that_lost_its_folders_has_again_what_runs_need(kiosk: Shop) -> None:
    running, previous, live = make(kiosk, 3)
    kiosk.run("d00", running, state="queued")
    kiosk.kill()
    for release in (running, previous, live):
        release_archive.discard(kiosk.folder / release)
    (kiosk.folder / live / "dags").mkdir(parents=True)  # half a copy
    kiosk.start()
    kiosk.deploy(live)
    release_archive.verify(live, kiosk.folder / live)
    release_archive.verify(running, kiosk.folder / running)
    assert not (kiosk.folder / previous).exists()


def test_whoever_deploys_what_is_being_removed_has_it(kiosk: Shop) -> None:
    place = f"file://{kiosk.project}/mnt"
    old, *_ = make(kiosk, 4, place)

    def remove(_: int) -> None:
        kiosk.age()
        prune(kiosk)

    def deploy(_: int) -> None:
        assert kiosk.build(place) == old
        asked = kiosk.ledger.request(DeploymentAction.PROMOTE, old, actor="ann", reason="")
        assert kiosk.wait(asked)[0] in ("done", "watching"), kiosk.log()

    for _ in range(4):
        kiosk.write("d00", task="t0")
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda work: work(0), (remove, deploy, remove)))
        make(kiosk, 3, place)


def test_airflow_has_the_path_of_a_dag_that_moved_once_no_kept_release_has_another(kiosk: Shop) -> None:
    def path() -> str:
        statement = "SELECT relative_fileloc FROM dag WHERE dag_id = %s"
        return kiosk.database.query(statement, f"{kiosk.name}_d02")[0][0]

    make(kiosk, 1)
    assert path() == "dags/d02.py"
    (kiosk.project / "dags" / "deep").mkdir()
    (kiosk.project / "dags" / "d02.py").rename(kiosk.project / "dags" / "deep" / "moved.py")
    kiosk.write("d00", task="with_the_move")
    kiosk.deploy(kiosk.build(), policy=POLICY)
    assert path() == release_archive.MOVED_FILE
    kiosk.deploy(None, "rollback")
    assert path() == release_archive.MOVED_FILE  # runs of the release that it goes back from may be unfinished
    make(kiosk, 3)
    kiosk.age()
    prune(kiosk)
    make(kiosk, 4)
    assert path() == "dags/deep/moved.py"
