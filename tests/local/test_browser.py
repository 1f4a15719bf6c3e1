"""A user logs in with a real browser and opens a successful run; the test keeps a screenshot."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from airflow_pages import CHROMIUM, open_page, start_browser
from fleets import Platform

pytestmark = [pytest.mark.local, pytest.mark.browser]

ARTIFACTS = Path(__file__).parents[2] / "artifacts"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: tools/chromium installs it as root")
def test_a_person_logs_in_and_sees_a_successful_run(platform: Platform) -> None:
    assert platform.succeeds("quick")
    with start_browser() as browser:
        page = open_page(browser)
        page.goto(f"http://127.0.0.1:{platform.port}/")
        log_in(page, "not the password")
        expect(page.locator("body")).to_contain_text("Invalid login")
        log_in(page, platform.password)
        expect(page.get_by_role("heading", name="Health")).to_be_visible()
        page.goto(f"http://127.0.0.1:{platform.port}/dags/quick/runs")
        expect(page.get_by_text("Success", exact=True).first).to_be_visible()
        ARTIFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTIFACTS / "successful-run.png")


def log_in(page: Page, password: str) -> None:
    page.locator("input[name=username]").fill("admin")
    page.locator("input[name=password]").fill(password)
    page.locator("input[type=submit], button[type=submit]").first.click()
