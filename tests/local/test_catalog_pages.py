"""The catalogue in a real browser, opened from a disk: it is searched, it is readable, and hostile names do nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Dialog, Page, expect

import invented_catalog
from airfleet.operations.catalog import site
from airflow_pages import AXE, CHROMIUM, start_browser

pytestmark = [
    pytest.mark.local,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: tools/chromium installs it as root"),
]

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
PATIENCE_MS = 90_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("catalog") / "site"
    site.write(invented_catalog.make_catalog(), folder)
    return folder


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with start_browser() as browser:
        yield browser.new_page()


@pytest.fixture
def noise(page: Page) -> Iterator[list[str]]:
    """What pages say in the console or in a dialog."""
    heard: list[str] = []

    def hear(message: object) -> None:
        heard.append(str(message))

    page.on("console", hear)
    page.on("pageerror", hear)
    yield heard
    page.remove_listener("console", hear)
    page.remove_listener("pageerror", hear)


def test_the_search_finds_dags_tasks_and_assets(page: Page, folder: Path, noise: list[str]) -> None:
    page.goto((folder / "index.html").as_uri())
    expect(page.get_by_role("link", name="load", exact=True).first).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_role("heading", name="Tasks")).to_be_hidden()
    page.get_by_label("Find a Dag").fill("Fetch_Orders")
    expect(page.get_by_role("link", name="fetch_orders")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_role("heading", name="Assets")).to_be_hidden()
    page.get_by_role("link", name="fetch_orders").click()
    expect(page.get_by_role("heading", name="fetch_orders")).to_be_visible(timeout=PATIENCE_MS)
    page.go_back()
    expect(page.get_by_text("1 found")).to_be_visible(timeout=PATIENCE_MS)
    assert noise == []


def test_hostile_names_do_nothing(page: Page, folder: Path, noise: list[str]) -> None:
    dialogs: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    for path in sorted(folder.rglob("*.html")):
        page.goto(path.as_uri())
        expect(page.get_by_role("main")).to_be_visible(timeout=PATIENCE_MS)
    assert (dialogs, noise) == ([], [])


@pytest.mark.parametrize("name", ["index", "dags/load", "assets/raw"])
def test_a_page_is_readable(page: Page, folder: Path, name: str) -> None:
    page.goto((folder / f"{name}.html").as_uri())
    expect(page.get_by_role("main")).to_be_visible(timeout=PATIENCE_MS)
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"catalog-{Path(name).name}.png")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: tools/console installs it where Node is")
    # The policy of the pages lets no script of a page run; a debugger may.
    page.evaluate(AXE.read_text("utf-8"))
    found = [one["id"] for one in page.evaluate("axe.run()")["violations"] if one["impact"] in ("serious", "critical")]
    assert found == []
