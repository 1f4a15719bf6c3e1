"""The Fleet pages in Airflow's own UI and a real browser: with data, empty, forbidden, broken, and very large."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

import invented_fleet
import invented_inquiries
import invented_pages
from airfleet_provider.console import inquiry_views, views
from airfleet_provider.contract.run_trace import spans
from airflow_pages import AXE, CHROMIUM, Answer, Site, open_site, start_browser
from deadline import wait_until

pytestmark = [
    pytest.mark.local,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: tools/chromium installs it as root"),
]

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
# The page, what it shows of an invented platform, and what it says when there is nothing to show.
PAGES = {
    "overview": ("The disk /var of db1 is full in 4 h", "All is well"),
    "pools": ("warehouse", "There is no slot pool"),
    "releases": ("tariff of December", "No release was built yet"),
    "slas": ("8 of 12 tasks have ended", "No promise was made"),
    "alerts": ("DiskFull", "No alert is open"),
    "breakers": ("ConnectionRefusedError", "There is no circuit breaker"),
    "audit": ("PATCH /api/v2/pools/crm", "Nothing was changed yet"),
    "explain": ("The slot pool warehouse is full", "Nothing stands in its way"),
    "incident": ("twice as many tasks fail", "Nothing happened that the platform writes down"),
    "backups": ("23.4 GB", "no backup is known"),
    "logs": ("no price <b>for</b> 4711", "No line fits"),
    "trace": ("load waited for a slot", "No task of this run has begun"),
}
BROKEN = {
    "forbidden": (Answer({"detail": "you need the right DAGs (read)"}, 403), "You may not see this page"),
    "logged out": (Answer({"detail": "Not authenticated"}, 401), "You are not logged in"),
    "outage": (Answer({"detail": "the metadata database does not answer"}, 503), "The platform does not answer"),
    "fault": (Answer({"detail": "Internal Server Error"}, 500), "This page could not be read"),
    "no answer": (Answer(status=0), "Airflow's web server does not answer."),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with start_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def site(browser: Browser) -> Iterator[Site]:
    with open_site(browser) as site:
        yield site


@pytest.fixture(scope="module")
def dark_site(browser: Browser) -> Iterator[Site]:
    with open_site(browser, is_dark=True) as site:
        yield site


def look_at(site: Site, name: str, answers: dict[str, Answer]) -> None:
    site.answers = answers
    site.requests.clear()
    # The tabs of a Dag, a run or a task; Airflow's UI shows them at these addresses too.
    places = {"explain": "why-task", "trace": "trace-run", "overview": "fleet"}
    site.open(places.get(name, f"fleet/{name}"))


def find_violations(page: Page) -> list[str]:
    """Return what axe-core finds serious on the own part of the page."""
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: tools/console installs it where Node is")
    page.add_script_tag(content=AXE.read_text("utf-8"))
    found = page.evaluate("axe.run('.airfleet')")["violations"]
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_what_it_has(site: Site, name: str) -> None:
    look_at(site, name, {key: Answer(body) for key, body in invented_pages.make_pages().items()})
    expect(site.page.get_by_text(PAGES[name][0]).first).to_be_visible()
    ARTIFACTS.mkdir(exist_ok=True)
    site.page.screenshot(path=ARTIFACTS / f"fleet-{name}.png")
    assert find_violations(site.page) == []


@pytest.mark.parametrize("name", ["overview", "pools", "alerts", "trace", "incident", "logs"])
def test_a_page_is_readable_in_the_dark(dark_site: Site, name: str) -> None:
    look_at(dark_site, name, {key: Answer(body) for key, body in invented_pages.make_pages().items()})
    expect(dark_site.page.get_by_text(PAGES[name][0]).first).to_be_visible()
    assert find_violations(dark_site.page) == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_that_there_is_nothing(site: Site, name: str) -> None:
    look_at(site, name, {key: Answer(body) for key, body in invented_pages.make_empty_pages().items()})
    expect(site.page.get_by_text(PAGES[name][1]).first).to_be_visible()
    assert find_violations(site.page) == []


@pytest.mark.parametrize("case", BROKEN)
def test_a_page_says_why_it_is_empty(site: Site, case: str) -> None:
    answer, said = BROKEN[case]
    for name in ("overview", "alerts") if case == "forbidden" else ("overview",):
        look_at(site, name, dict.fromkeys(PAGES, answer))
        expect(site.page.get_by_text(said).first).to_be_visible()
        assert find_violations(site.page) == []


def test_a_page_of_500_dags_and_50_hosts_is_readable(site: Site) -> None:
    pools = invented_fleet.make_large_pools()
    large = views.show_pools(invented_fleet.ADMIN, invented_fleet.make_large_activity(), pools)
    look_at(site, "pools", {"pools": Answer(large)})
    expect(site.page.get_by_text("worker-49.example.com").first).to_be_attached()
    assert site.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_run_of_500_tasks_is_readable(site: Site) -> None:
    large = inquiry_views.show_trace(spans.build(invented_inquiries.make_trace(500)))
    look_at(site, "trace", {"trace": Answer(large)})
    expect(site.page.get_by_text("305 more tries")).to_be_visible()
    assert site.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert len(site.requests) <= 2  # a run that has ended is read once, and once more to be sure


def test_a_time_line_of_an_earlier_day_is_asked_for(site: Site) -> None:
    look_at(site, "incident", {key: Answer(body) for key, body in invented_pages.make_pages().items()})
    page = site.page
    expect(page.get_by_text("twice as many tasks fail")).to_be_visible()
    page.get_by_label("kind").select_option("alert")
    expect(page.get_by_text("twice as many tasks fail")).to_have_count(0)
    with page.expect_request(lambda one: "hours=24" in one.url):
        page.get_by_label("The last").select_option("1 day")
    with page.expect_request(lambda one: "hours=24" in one.url and "until=2026-11-2" in one.url):
        page.get_by_label("until (empty: now)").fill("2026-11-28T12:00")


def test_logs_are_searched_by_keyboard_and_not_again_and_again(browser: Browser) -> None:
    with open_site(browser) as site:
        page = site.page
        page.clock.install()
        look_at(site, "logs", {key: Answer(body) for key, body in invented_pages.make_pages().items()})
        expect(page.get_by_text("ConnectionRefusedError").first).to_be_visible()
        page.get_by_label("Words").fill('"no price"')
        page.get_by_role("textbox", name="Dag").fill("sales")
        with page.expect_request(lambda one: "dag=sales" in one.url and "text=%22no+price%22" in one.url):
            page.keyboard.press("Enter")
        expect(page.get_by_text("ConnectionRefusedError").first).to_be_visible()
        asked = len(site.requests)
        page.clock.fast_forward(300_000)
        assert len(site.requests) == asked


def test_an_alert_is_acknowledged_by_keyboard(site: Site) -> None:
    answers = {key: Answer(body) for key, body in invented_pages.make_pages().items()}
    look_at(site, "alerts", {**answers, "alerts/17/acknowledge": Answer({"acknowledged": 17})})
    page = site.page
    page.get_by_role("button", name="Acknowledge alert 17").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Acknowledge DiskFull?")
    expect(dialog).to_be_visible()
    assert find_violations(page) == []
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_attached()
    assert all(one.method == "GET" for one in site.requests)  # nothing is done without a confirmation
    page.get_by_role("button", name="Acknowledge alert 17").focus()
    page.keyboard.press("Enter")
    page.get_by_label("What you do about it").fill("the disk is extended")
    page.keyboard.press("Enter")
    expect(dialog).not_to_be_attached()
    (sent,) = [(one.path, json.loads(one.body)) for one in site.requests if one.method == "POST"]
    assert sent == ("alerts/17/acknowledge", {"note": "the disk is extended"})


def test_an_alert_is_silenced_with_a_reason_and_a_silence_ended(site: Site) -> None:
    answers = {key: Answer(body) for key, body in invented_pages.make_pages().items()}
    done = {"alerts/17/silence": Answer({"silence": 4}), "silences/3/end": Answer({"ended": 3})}
    look_at(site, "alerts", {**answers, **done})
    page = site.page
    page.get_by_role("button", name="Silence alert 17").click()
    dialog = page.get_by_role("dialog", name="Silence DiskFull?")
    dialog.get_by_label("For").select_option("1 day")
    dialog.get_by_label("Why").fill("the disk is extended at noon")
    assert find_violations(page) == []
    page.keyboard.press("Enter")
    expect(dialog).not_to_be_attached()
    page.get_by_role("button", name="End silence 3").click()
    page.get_by_role("dialog").get_by_role("button", name="End it").click()
    expect(page.get_by_role("dialog")).not_to_be_attached()
    sent = [(one.path, json.loads(one.body)) for one in site.requests if one.method == "POST"]
    assert sent == [
        ("alerts/17/silence", {"seconds": 86_400, "comment": "the disk is extended at noon"}),
        ("silences/3/end", {}),
    ]


def test_a_refused_acknowledgement_says_why(site: Site) -> None:
    answers = {key: Answer(body) for key, body in invented_pages.make_pages().items()}
    refusal = Answer({"detail": "you need the right Pools (edit)"}, 403)
    look_at(site, "alerts", {**answers, "alerts/17/acknowledge": refusal})
    site.page.get_by_role("button", name="Acknowledge alert 17").click()
    site.page.get_by_role("button", name="Acknowledge", exact=True).last.click()
    expect(site.page.get_by_role("dialog").get_by_text("You need the right Pools (edit)")).to_be_visible()


def test_a_release_is_rolled_back_with_a_reason(site: Site) -> None:
    answers = {key: Answer(body) for key, body in invented_pages.make_pages().items()}
    look_at(site, "releases", {**answers, "releases/rollback": Answer({"deployment": 10})})
    page = site.page
    page.get_by_role("button", name="Roll back").click()
    dialog = page.get_by_role("dialog", name="Roll back to the release before?")
    dialog.get_by_role("button", name="Roll back").click()
    expect(dialog).to_be_visible()  # a reason is missing
    assert find_violations(page) == []
    dialog.get_by_label("Why").fill("twice as many tasks fail")
    page.keyboard.press("Enter")
    expect(dialog).not_to_be_attached()
    (sent,) = [json.loads(one.body) for one in site.requests if one.method == "POST"]
    assert sent == {"live": f"r{'a' * 64}", "release": None, "reason": "twice as many tasks fail"}


def test_a_pool_is_scaled_with_a_reason(site: Site) -> None:
    answers = {key: Answer(body) for key, body in invented_pages.make_pages().items()}
    look_at(site, "pools", {**answers, "pools/cpu/scale": Answer({"pool": "cpu"}), "pools/memory/scale": Answer({})})
    page = site.page
    page.get_by_role("button", name="Scale cpu").click()
    dialog = page.get_by_role("dialog", name="Set the slots of cpu?")
    dialog.get_by_label("Slots of the whole pool, 2 to 32").fill("12")
    dialog.get_by_label("Why").fill("month end")
    assert find_violations(page) == []
    page.keyboard.press("Enter")
    expect(dialog).not_to_be_attached()
    page.get_by_role("button", name="Scale memory").click()
    page.get_by_label("How").select_option("the pool scales by its tasks")
    page.get_by_label("Why").fill("month end is over")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).not_to_be_attached()
    sent = [(one.path, json.loads(one.body)) for one in site.requests if one.method == "POST"]
    assert sent == [
        ("pools/cpu/scale", {"slots": 12, "reason": "month end"}),
        ("pools/memory/scale", {"slots": None, "reason": "month end is over"}),
    ]


def test_workers_are_drained_and_resumed_with_a_reason(site: Site) -> None:
    answers = {key: Answer(body) for key, body in invented_pages.make_pages().items()}
    look_at(site, "pools", {**answers, "workers/drain": Answer({}), "workers/resume": Answer({})})
    page = site.page
    page.get_by_role("button", name="Drain cpu@w1").click()
    dialog = page.get_by_role("dialog", name="Drain cpu@w1?")
    expect(dialog.get_by_text("8 tasks run there")).to_be_visible()
    expect(dialog.get_by_text("No worker that takes tasks is left")).to_have_count(0)
    dialog.get_by_label("Which").select_option("all workers of the host w1")
    expect(dialog.get_by_text("12 tasks run there")).to_be_visible()
    expect(dialog.get_by_text("No worker that takes tasks is left in io")).to_be_visible()
    dialog.get_by_label("Why").fill("new disk")
    page.screenshot(path=ARTIFACTS / "fleet-drain.png")
    assert find_violations(page) == []
    page.keyboard.press("Enter")
    expect(dialog).not_to_be_attached()
    expect(page.get_by_text("by grace")).to_be_visible()
    page.get_by_role("button", name="Resume io@w5").click()
    page.get_by_label("Why").fill("it is in")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).not_to_be_attached()
    sent = [(one.path, json.loads(one.body)) for one in site.requests if one.method == "POST"]
    assert sent == [
        ("workers/drain", {"pool": None, "host": "w1", "reason": "new disk"}),
        ("workers/resume", {"pool": "io", "host": "w5", "reason": "it is in"}),
    ]
    # A command alone resumes what a command has drained.
    expect(page.get_by_role("button", name="Drain io@w6")).to_have_count(0)
    expect(page.get_by_text("airfleet workers resume io@w6")).to_be_visible()


def test_who_may_not_operate_drains_nothing(site: Site) -> None:
    own = invented_pages.make_pages(invented_fleet.VIEWER)
    look_at(site, "pools", {key: Answer(body) for key, body in own.items()})
    expect(site.page.get_by_text("by grace")).to_be_visible()
    expect(site.page.get_by_role("button", name="Drain")).to_have_count(0)


def test_who_may_not_operate_gets_no_button(site: Site) -> None:
    own = invented_pages.make_pages(invented_fleet.VIEWER)
    look_at(site, "alerts", {key: Answer(body) for key, body in own.items()})
    expect(site.page.get_by_text("Acknowledging and silencing need the right")).to_be_visible()
    expect(site.page.get_by_role("button", name="Acknowledge")).to_have_count(0)


def test_an_open_page_asks_now_and_then_and_a_hidden_one_never(browser: Browser) -> None:
    with open_site(browser) as site:
        page = site.page
        page.clock.install()
        look_at(site, "alerts", {key: Answer(body) for key, body in invented_pages.make_pages().items()})
        expect(page.get_by_text("DiskFull").first).to_be_visible()
        asked = len(site.requests)
        with page.expect_request("**/airfleet/api/alerts"):
            page.clock.fast_forward(11_000)
        wait_until(lambda: len(site.requests) > asked, "the request")
        assert "If-None-Match" in site.requests[asked].headers  # the server may answer that nothing has changed
        page.evaluate("Object.defineProperty(document, 'hidden', {get: () => true, configurable: true})")
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        asked = len(site.requests)
        page.clock.fast_forward(120_000)
        assert len(site.requests) == asked
        page.evaluate("Object.defineProperty(document, 'hidden', {get: () => false, configurable: true})")
        with page.expect_request("**/airfleet/api/alerts"):
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_old_figures_stay_and_say_their_age(site: Site) -> None:
    answers = {key: Answer(body) for key, body in invented_pages.make_pages().items()}
    look_at(site, "alerts", answers)
    expect(site.page.get_by_text("DiskFull").first).to_be_visible()
    site.answers = {"alerts": Answer({"detail": "the metadata database does not answer"}, 503)}
    site.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # asks at once
    expect(site.page.get_by_text("These figures are")).to_be_visible()
    expect(site.page.get_by_text("DiskFull").first).to_be_visible()


def test_archived_runs_are_found_by_dag_and_time(site: Site) -> None:
    look_at(site, "backups", {key: Answer(body) for key, body in invented_pages.make_pages().items()})
    page = site.page
    page.get_by_role("button", name="Show sales").click()
    expect(page.get_by_text("manual__of_the_auditor")).to_be_visible()
    page.get_by_label("from", exact=True).fill("2026-08-01")
    page.get_by_label("to (UTC)").fill("2026-08-31")
    page.get_by_label("in the id of the run").fill("manual")
    with page.expect_request(lambda one: "text=manual" in one.url) as asked:
        page.get_by_role("button", name="Find").click()
    for words in ("dag=sales", "since=2026-08-01T00%3A00%3A00Z", "until=2026-09-01T00%3A00%3A00.000Z"):
        assert words in asked.value.url
    expect(page.get_by_text("airfleet db archive restore --dag sales").first).to_be_visible()
    page.screenshot(path=ARTIFACTS / "fleet-archive.png", full_page=True)
    assert find_violations(page) == []


def test_an_archive_of_500_dags_is_readable(site: Site) -> None:
    large = inquiry_views.show_archive(invented_fleet.ADMIN, invented_inquiries.make_archive(500))
    answers = {key: Answer(body) for key, body in invented_pages.make_pages().items()}
    look_at(site, "backups", {**answers, "archive": Answer(large)})
    expect(site.page.get_by_text("400 more Dags")).to_be_visible()
    assert site.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_who_may_read_a_dag_finds_its_archived_runs_without_the_backups(site: Site) -> None:
    own = {key: Answer(body) for key, body in invented_pages.make_pages(invented_fleet.TEAM).items()}
    forbidden = Answer({"detail": "you need the right Cluster Activity (read)"}, 403)
    look_at(site, "backups", {**own, "backups": forbidden})
    expect(site.page.get_by_text("You may not see this page")).to_be_visible()
    expect(site.page.get_by_role("button", name="Show sales")).to_be_visible()
    expect(site.page.get_by_role("button", name="Show stock")).to_have_count(0)
