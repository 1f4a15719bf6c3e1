"""The bundle: where the files of a release are, and what happens when they are not there."""

from __future__ import annotations

import email.message
import errno
import os
import time
import urllib.error
from pathlib import Path

import pytest
from airflow.dag_processing.bundles.base import BundleVersion
from airflow.sdk.exceptions import AirflowRescheduleException

from airfleet_provider.bundles import archive_client, release_files
from airfleet_provider.bundles.release_bundle import ReleaseBundle, ReleasedElsewhereError
from airfleet_provider.bundles.release_files import CollectedError
from airfleet_provider.bundles.unavailable_releases import UnavailableError
from airfleet_provider.compat.calls import metadata_db, task_process
from airfleet_provider.contract import archive_store, release_archive


@pytest.fixture(autouse=True)
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "bundles"))
    return tmp_path / "bundles"


@pytest.fixture
def release(tmp_path: Path) -> tuple[str, bytes]:
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "x.py").write_text("x")
    tree, contents = release_archive.read(tmp_path)
    return tree.id, release_archive.pack(tree, contents)


def test_without_a_release_or_a_database_nothing_raises(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise ConnectionError

    monkeypatch.setattr(metadata_db, "open_session", refuse)
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

    monkeypatch.setattr(release_files, "read_archive", read)
    for _ in range(2):
        pinned = ReleaseBundle(name="shop", version=name)
        pinned.initialize()
        assert (pinned.path / "dags" / "x.py").read_text() == "x"
    assert asked == [name]
    assert pinned.path == storage / "shop" / "versions" / name
    assert pinned.get_current_version() == BundleVersion(name)
    with pytest.raises(release_archive.CorruptError):
        ReleaseBundle(name="shop", version="r0000000000000000").initialize()
    assert [path.name for path in pinned.path.parent.iterdir()] == [name]


def test_a_task_without_its_release_is_started_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_process, "is_task", lambda: True)
    with pytest.raises(AirflowRescheduleException):
        ReleaseBundle(name="shop", version="r1").initialize()


def test_the_live_release_is_one_link_away(storage: Path) -> None:
    for release in ("r1", "r2"):
        (storage / "shop" / "versions" / release).mkdir(parents=True)
        release_files.point(storage / "shop", release)
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
    monkeypatch.setattr(task_process, "is_task", lambda: True)
    monkeypatch.setattr(metadata_db, "open_session", refuse)
    place = f"file://{tmp_path}/mnt"
    pinned = ReleaseBundle(name="shop", version=name, store=place)
    with pytest.raises(AirflowRescheduleException):  # not mounted
        pinned.initialize()
    location = archive_store.locate(place, "shop", name)
    archive_store.write(location, archive[:600])
    with pytest.raises(AirflowRescheduleException):  # half of it
        pinned.initialize()
    assert not pinned.path.exists()
    archive_store.write(location, archive)
    pinned.initialize()
    assert (pinned.path / "dags" / "x.py").read_text() == "x"
    archive_store.remove(location)
    ReleaseBundle(name="shop", version=name, store=place).initialize()
    with pytest.raises(CollectedError, match="run this on the latest version"):
        ReleaseBundle(name="shop", version="r0000000000000000", store=place).initialize()


def test_a_copy_on_the_host_is_used_when_it_is_whole_and_replaced_when_not(
    storage: Path, release: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _ = release
    monkeypatch.setattr(task_process, "is_task", lambda: True)
    copy = storage / "shop" / "versions" / name
    (copy / "dags").mkdir(parents=True)
    (copy / "dags" / "x.py").write_text("half")
    pinned = ReleaseBundle(name="shop", version=name)
    with pytest.raises(AirflowRescheduleException):
        pinned.initialize()
    (copy / "dags" / "x.py").write_text("x")
    (copy / release_archive.IGNORE_FILE).write_bytes(release_archive.IGNORE_CONTENT)
    pinned.initialize()
    assert release_archive.is_whole(copy)


def test_a_task_of_a_release_that_was_collected_does_not_wait_for_it(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_process, "is_task", lambda: True)
    versions = storage / "shop" / "versions"
    versions.mkdir(parents=True)
    release_files.tombstone(versions, "r1").touch()
    with pytest.raises(CollectedError):
        ReleaseBundle(name="shop", version="r1").initialize()


def test_a_release_that_no_web_host_has_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(release: str, _: str) -> bytes:
        raise archive_client.ReleaseGoneError(release)

    monkeypatch.setattr(task_process, "is_task", lambda: True)
    monkeypatch.setattr(archive_client, "fetch", refuse)
    with pytest.raises(CollectedError):
        ReleaseBundle(name="shop", version="r1").initialize()


def fail_with(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(*_: object) -> bytes:
        raise error

    monkeypatch.setattr(task_process, "is_task", lambda: True)
    monkeypatch.setattr(archive_client, "fetch", refuse)


def refuse_by_http(code: int) -> Exception:
    return urllib.error.HTTPError("http://web/r1", code, "said the web host", email.message.Message(), None)


def begin_to_wait(storage: Path, minutes: float) -> None:
    """A task of this host has waited for r1 for so long."""
    with pytest.raises(AirflowRescheduleException):
        ReleaseBundle(name="shop", version="r1").initialize()
    (mark,) = (storage / "shop" / "versions").glob(".r1.*")
    began = time.time() - 60 * minutes
    os.utime(mark, (began, began))


@pytest.mark.parametrize(
    ("error", "minutes", "said"),
    [
        (refuse_by_http(403), 11, "this host and the web hosts have different"),
        (refuse_by_http(502), 61, "said the web host"),
        (OSError(errno.ENOSPC, "No space left on device", "/var/lib/x"), 61, "check the free disk space"),
        (release_archive.CorruptError("other files arrived"), 61, "other files arrived"),
        (LookupError("a task has no way to the database"), 11, "no way to the database"),
    ],
    ids=["refused", "a web host that is ill", "a full disk", "a broken archive", "no way"],
)
def test_a_task_waits_for_its_release_for_a_time_and_then_fails_with_the_reason(
    storage: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, minutes: float, said: str
) -> None:
    fail_with(monkeypatch, error)
    begin_to_wait(storage, minutes - 2)
    begin_to_wait(storage, minutes)
    with pytest.raises(UnavailableError, match=said):
        ReleaseBundle(name="shop", version="r1").initialize()


def test_an_outage_is_waited_for_longer_than_a_refusal(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, refuse_by_http(503))
    begin_to_wait(storage, 50)
    begin_to_wait(storage, 50)


def test_the_next_wait_begins_anew_once_the_release_was_there(
    storage: Path, release: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, archive = release
    fail_with(monkeypatch, refuse_by_http(503))
    with pytest.raises(AirflowRescheduleException):
        ReleaseBundle(name="shop", version=name).initialize()
    monkeypatch.setattr(archive_client, "fetch", lambda *_: archive)
    ReleaseBundle(name="shop", version=name).initialize()
    assert [path.name for path in (storage / "shop" / "versions").iterdir()] == [name]


def test_a_live_release_that_cannot_be_had_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fill() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/var/lib/x")

    monkeypatch.setattr(metadata_db, "open_session", fill)
    ReleaseBundle(name="shop").initialize()
    assert "cannot fetch the live release now" in caplog.text
    assert "No space left on device" in caplog.text
