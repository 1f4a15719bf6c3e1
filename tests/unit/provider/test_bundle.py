"""The bundle: where the files of a release are, and what happens when they are not there."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.dag_processing.bundles.base import BundleVersion
from airflow.sdk.exceptions import AirflowRescheduleException

from airfleet_provider import artefact, bundle, compat, shelf, store
from airfleet_provider.bundle import CollectedError, ReleaseBundle, ReleasedElsewhereError


@pytest.fixture(autouse=True)
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "bundles"))
    return tmp_path / "bundles"


@pytest.fixture
def release(tmp_path: Path) -> tuple[str, bytes]:
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "x.py").write_text("x")
    tree, contents = artefact.read(tmp_path)
    return tree.id, artefact.pack(tree, contents)


def test_without_a_release_or_a_database_nothing_raises(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise ConnectionError

    monkeypatch.setattr(compat, "open_session", refuse)
    tracking = ReleaseBundle(name="shop")
    assert tracking.path == storage / "shop" / "live"
    tracking.initialize()
    assert tracking.is_initialized
    assert tracking.get_current_version() is None


def test_a_release_is_fetched_once_and_verified(
    storage: Path, release: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, archive = release
    asked: list[str] = []

    def read(wanted: str) -> bytes:
        asked.append(wanted)
        return archive

    monkeypatch.setattr(bundle, "read_archive", read)
    for _ in range(2):
        pinned = ReleaseBundle(name="shop", version=name)
        pinned.initialize()
        assert (pinned.path / "dags" / "x.py").read_text() == "x"
    assert asked == [name]
    assert pinned.path == storage / "shop" / "versions" / name
    assert pinned.get_current_version() == BundleVersion(name)
    with pytest.raises(artefact.CorruptError):
        ReleaseBundle(name="shop", version="r0000000000000000").initialize()
    assert [path.name for path in pinned.path.parent.iterdir()] == [name]


def test_a_task_without_its_release_is_started_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "is_task", lambda: True)
    with pytest.raises(AirflowRescheduleException):
        ReleaseBundle(name="shop", version="r1").initialize()


def test_the_live_release_is_one_link_away(storage: Path) -> None:
    for release in ("r1", "r2"):
        (storage / "shop" / "versions" / release).mkdir(parents=True)
        bundle.point(storage / "shop", release)
        assert ReleaseBundle(name="shop").get_current_version() == BundleVersion(release)
        assert ReleaseBundle(name="shop").path.resolve().name == release
    assert {path.name for path in (storage / "shop").iterdir()} == {"versions", "live"}


def test_nobody_but_the_releaser_parses_a_release() -> None:
    with pytest.raises(ReleasedElsewhereError, match="airflow airfleet releaser"):
        ReleaseBundle(name="shop").refresh()


def test_a_task_fetches_its_release_from_the_store_without_a_database(
    tmp_path: Path, release: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise AssertionError("a task asked for the database")

    name, archive = release
    monkeypatch.setattr(compat, "is_task", lambda: True)
    monkeypatch.setattr(compat, "open_session", refuse)
    place = f"file://{tmp_path}/mnt"
    pinned = ReleaseBundle(name="shop", version=name, store=place)
    with pytest.raises(AirflowRescheduleException):  # not mounted
        pinned.initialize()
    location = store.locate(place, "shop", name)
    store.write(location, archive[:600])
    with pytest.raises(AirflowRescheduleException):  # half of it
        pinned.initialize()
    assert not pinned.path.exists()
    store.write(location, archive)
    pinned.initialize()
    assert (pinned.path / "dags" / "x.py").read_text() == "x"
    store.remove(location)
    ReleaseBundle(name="shop", version=name, store=place).initialize()
    with pytest.raises(CollectedError, match="run this on the latest version"):
        ReleaseBundle(name="shop", version="r0000000000000000", store=place).initialize()


def test_a_copy_on_the_host_is_used_when_it_is_whole_and_replaced_when_not(
    storage: Path, release: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _ = release
    monkeypatch.setattr(compat, "is_task", lambda: True)
    copy = storage / "shop" / "versions" / name
    (copy / "dags").mkdir(parents=True)
    (copy / "dags" / "x.py").write_text("half")
    pinned = ReleaseBundle(name="shop", version=name)
    with pytest.raises(AirflowRescheduleException):
        pinned.initialize()
    (copy / "dags" / "x.py").write_text("x")
    (copy / artefact.IGNORE_FILE).write_bytes(artefact.IGNORE_CONTENT)
    pinned.initialize()
    assert artefact.is_whole(copy)


def test_a_task_of_a_release_that_was_collected_does_not_wait_for_it(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compat, "is_task", lambda: True)
    versions = storage / "shop" / "versions"
    versions.mkdir(parents=True)
    bundle.tombstone(versions, "r1").touch()
    with pytest.raises(CollectedError):
        ReleaseBundle(name="shop", version="r1").initialize()


def test_a_release_that_no_web_host_has_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(release: str, _: str) -> bytes:
        raise shelf.GoneError(release)

    monkeypatch.setattr(compat, "is_task", lambda: True)
    monkeypatch.setattr(shelf, "fetch", refuse)
    with pytest.raises(CollectedError):
        ReleaseBundle(name="shop", version="r1").initialize()
