"""Operations on a fleet at work: workers that drain, an apply that restarts everything; nothing that runs notices."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deadline import wait_until
from four import PACKAGES, ROLES, Four, Poller
from machines import Bed, why_not
from machines.image import Recipe, ensure_image

pytestmark = [pytest.mark.hosts, pytest.mark.drill]


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Four]:
    if reason := why_not():
        pytest.skip(f"no machines can run here: {reason}")
    with Bed.create(list(ROLES), image=ensure_image(Recipe(fetched=PACKAGES))) as bed:
        bed.wait_ready()
        made = Four(tmp_path_factory.mktemp("four"), bed)
        made.write()
        made.do("apply")
        made.do("release", "deploy", "-m", "first")
        yield made


def begin(four: Four, seconds: float, count: int) -> list[str]:
    """Runs whose tasks run now."""
    began, _ = four.ledger()
    runs = [four.trigger(seconds) for _ in range(count)]
    wait_until(lambda: four.ledger()[0] == began + count, "tasks that run", timeout_s=240, every_s=1)
    return runs


def test_a_worker_drains_while_the_other_goes_on_and_stays_drained_through_a_restart(four: Four) -> None:
    runs = begin(four, 20, 4)
    four.do("workers", "drain", "app2")
    assert four.workers()["app2"]["state"] == "drained"
    four.bed["app2"].run("sudo systemctl restart airfleet-worker-default")
    wait_until(lambda: four.workers()["app2"]["state"] == "drained", "still drained", timeout_s=120, every_s=1)
    here = four.bed["app2"].run("sudo cat /var/lib/airfleet/worker/ran || true").stdout
    runs += begin(four, 1, 4)
    four.wait(runs)
    assert four.bed["app2"].run("sudo cat /var/lib/airfleet/worker/ran || true").stdout == here
    four.do("workers", "resume", "app2")
    assert four.workers()["app2"]["state"] == "serving"
    began, ended = four.ledger()
    assert began == ended, "no attempt was cut off"


def test_an_apply_that_restarts_everything_kills_no_task_and_fails_no_request(four: Four) -> None:
    before, _ = four.ledger()
    runs = begin(four, 60, 5)
    with Poller(four.url) as poller:
        four.do("apply", "--restart")
    four.wait(runs)
    began, ended = four.ledger()
    assert (began, ended) == (before + 5, before + 5), "each ran once, and to its end"
    assert poller.failed == []
    assert poller.asked > 100
    assert four.run("plan", "--check").returncode == 0
