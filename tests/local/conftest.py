"""Real platforms, each with its own port and folder, and a metadata database with only a releaser."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

import airflow_image
from airflow_image import AirflowImage
from fleets import Platform, make
from shops import Database, Shop, migrate, start_postgres

# The platforms that files share, and these files. One process runs the files of a platform in turn, so that it starts
# once, and ends with the last of them. Without work it takes an eighth of a core.
SHARING = {
    "shared": (
        *("test_platform.py", "test_access.py", "test_audit.py", "test_browser.py", "test_console.py"),
        *("test_drill_load.py", "test_secrets.py", "test_backup.py", "test_restart.py", "test_crashes.py"),
    ),
    "releases": ("test_releases.py", "test_release_examples.py"),
}
PLATFORMS = {file: name for name, files in SHARING.items() for file in files}
# Of the others, those that take a minute or more. A file runs in one process, so one that begins last leaves the others
# idle.
LONG = (
    *("test_celery.py", "test_monitoring.py", "test_task_runtime.py", "test_destructive_commands.py"),
    *("test_develop.py", "test_release_deploys.py", "test_release_keeping.py", "test_wheels.py", "test_failover.py"),
    *("test_explain_agrees.py", "test_upgrade_schema.py", "test_run_archive.py", "test_fleet_broker_logins.py"),
    *("test_release_watch.py", "test_releases_provider.py", "test_slas.py", "test_broker_rights.py", "test_init.py"),
    *("test_monitor_hosts.py", "test_broker_encryption.py", "test_outage_answers.py", "test_locks.py"),
    "test_scheduling.py",
)
RANK = {name: place for place, name in enumerate((*PLATFORMS, *LONG))}
STARTED = pytest.StashKey[dict[str, Platform]]()


# Seconds that one test may take, with what it sets up first. What hangs then fails alone, and what it began is ended.
# The longest takes two and a half minutes on two quiet cores, and ten times that where others work too.
HANGS_S = 1800


class SharingFiles(LoadFileScheduling):
    """One process runs each file, and all files that share a platform."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return PLATFORMS.get(Path(file).name, file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SharingFiles | None:  # noqa: ANN401 - it has no types
    return SharingFiles(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the long files first, and each file as a whole. A test that hangs fails."""
    items.sort(key=lambda item: RANK.get(item.path.name, len(RANK)))
    for item in items:
        item.add_marker(pytest.mark.timeout(HANGS_S))
        for name in SHARING:
            if f"_{name}" in getattr(item, "fixturenames", ()) and PLATFORMS.get(item.path.name) != name:
                raise pytest.UsageError(f"{item.path.name} uses a platform that files share: name it in {__file__}")


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop a platform that files share before the first test of a file that does not use it."""
    for name, platform in item.session.stash.get(STARTED, {}).items():
        if nextitem and PLATFORMS.get(nextitem.path.name) != name and platform.is_up():
            platform.down("--now")


@contextlib.contextmanager
def share(name: str, session: pytest.Session) -> Iterator[Platform]:
    with make(name) as platform:
        session.stash.setdefault(STARTED, {})[name] = platform
        yield platform


@pytest.fixture(scope="session")
def _shared(request: pytest.FixtureRequest) -> Iterator[Platform]:
    with share("shared", request.session) as platform:
        yield platform


@pytest.fixture(scope="session")
def _releases(request: pytest.FixtureRequest) -> Iterator[Platform]:
    with share("releases", request.session) as platform:
        (platform.project / "fleet.yaml").write_text(
            f"name: releases\ndags: releases\nports: {{api: {platform.port}}}\n"
        )
        yield platform


@pytest.fixture(scope="module")
def releases(_releases: Platform) -> Platform:
    """The platform for tests of releases, with an empty project. Its Dags come from releases."""
    for name in ("dags", "include", "tests"):
        shutil.rmtree(_releases.project / name, ignore_errors=True)
    (_releases.project / "dags").mkdir()
    if not _releases.is_up():
        _releases.up()
    return _releases


@pytest.fixture
def platform(_shared: Platform) -> Platform:
    """The platform that tests share, healthy. If a test stops it, the next test starts it."""
    _shared.release()
    if not _shared.is_up():
        _shared.up()
    _shared.wait_healthy()
    return _shared


@pytest.fixture
def other() -> Iterator[Platform]:
    """A platform for this test alone, which is not up yet."""
    with make("other") as platform:
        yield platform


@pytest.fixture(scope="session")
def database() -> Iterator[Database]:
    with tempfile.TemporaryDirectory(prefix="airfleet-releases-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        with start_postgres(folder) as port:
            yield migrate(folder, port)


@pytest.fixture(scope="session")
def image(database: Database) -> Iterator[AirflowImage]:
    """The process from which the releasers are forked."""
    with airflow_image.serve(database.environment, database.folder) as image:
        yield image


@pytest.fixture
def shop(database: Database, image: AirflowImage) -> Iterator[Shop]:
    """A new bundle with twenty Dags, and a running releaser."""
    with open_shop(database, image, 20) as shop:
        yield shop


@pytest.fixture
def kiosk(database: Database, image: AirflowImage) -> Iterator[Shop]:
    """A new bundle with three Dags, and a running releaser."""
    with open_shop(database, image, 3) as shop:
        yield shop


@contextlib.contextmanager
def open_shop(database: Database, image: AirflowImage, dags: int) -> Iterator[Shop]:
    name = f"shop{uuid.uuid4().hex[:6]}"
    shop = Shop(database, name, database.folder / name, image)
    (shop.project / "include").mkdir(parents=True)
    (shop.project / "include" / "__init__.py").touch()
    (shop.project / "include" / "shared.py").write_text("TAG = 'one'\n")
    for number in range(dags):
        shop.write(f"d{number:02}")
    shop.start()
    try:
        yield shop
    finally:
        shop.kill()
        database.query("DELETE FROM airfleet.pointer WHERE bundle = %s", shop.name)
        database.query("UPDATE airfleet.deployment SET state = 'failed' WHERE state NOT IN ('done', 'failed')")
        shutil.rmtree(shop.project)
