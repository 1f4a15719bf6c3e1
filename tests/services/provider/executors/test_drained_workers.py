"""What a drain on a page does to a real Celery worker at a real RabbitMQ, whose pool does not scale."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import brokers
import slot_site
from airfleet.components.rabbitmq import private_node, server
from airfleet_provider.contract import environment
from deadline import PATIENCE_S, wait_until

SLOTS = 2
HOST = "a"


class Drained:
    """One worker, which a test drains and resumes as a page does."""

    def __init__(self, folder: Path, desk: slot_site.SlotDesk, site: slot_site.SlotSite, env: dict[str, str]) -> None:
        self.desk, self.site = desk, site
        self._folder, self._env = folder, env

    def find(self, what: str) -> list[str]:
        """Return the tasks that have begun, or ended."""
        return [name for said, name, _, _ in self.site.read() if said == what]

    def wait(self, is_so: Callable[[], bool], what: str) -> None:
        wait_until(is_so, what, seen=lambda: (slot_site.describe(self.site), self.read_note()))

    def read_note(self) -> dict[str, Any]:
        """Return what the worker says of its state; nothing before it has said anything."""
        path = self._folder / "notes" / f"{HOST}-mark.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def restart(self) -> None:
        """Kill the worker, and start it again."""
        process = self.site.workers[HOST]
        process.kill()
        process.wait(PATIENCE_S)
        self.site.start(HOST, pool="threads", env=self._env)
        self.wait(lambda: self.read_note().get("pid") == self.site.workers[HOST].pid, "the next worker")


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Drained]:
    monkeypatch.setattr(private_node, "QUEUE_TYPE", server.QUEUE_TYPE)
    desk = slot_site.SlotDesk(lambda _: (SLOTS, None))
    url = f"http://127.0.0.1:{desk.server.server_port}/airfleet/workers/{slot_site.QUEUE}/{HOST}"
    env = {environment.SLOTS: "", environment.DRAINS: url}
    with (
        brokers.serve(queues=(slot_site.QUEUE,)) as broker,
        slot_site.run_workers(tmp_path, broker, desk, (HOST,), SLOTS, pool="threads", env=env) as site,
    ):
        yield Drained(tmp_path, desk, site, env)
        for path in tmp_path.glob("task-*"):
            path.unlink()
    desk.close()


def test_a_drained_worker_ends_its_task_and_takes_no_other_also_after_a_kill_without_a_web_host(
    worker: Drained, tmp_path: Path
) -> None:
    (tmp_path / "task-old").touch()
    worker.site.send("task-old", 0.0)
    worker.wait(lambda: "task-old" in worker.find("begun"), "the task")

    worker.desk.drained.add(HOST)
    worker.wait(lambda: worker.read_note().get("state") == "draining", "the drain")
    assert worker.read_note()["by_page"] is True
    worker.site.send("task-new", 0.0)
    (tmp_path / "task-old").unlink()
    worker.wait(lambda: worker.read_note().get("state") == "drained", "the end of its task")
    assert (worker.find("begun"), worker.find("ended")) == (["task-old"], ["task-old"])

    worker.desk.is_silent = True
    worker.restart()
    assert worker.read_note()["state"] == "drained", "from its first moment on, though no web host answers"
    assert worker.find("begun") == ["task-old"]

    worker.desk.is_silent = False
    worker.desk.drained.clear()
    worker.wait(lambda: "task-new" in worker.find("ended"), "the task that waited")
    memory = tmp_path / "notes" / environment.name_page_drain(f"{HOST}-mark")
    worker.wait(lambda: worker.read_note()["state"] == "serving" and not memory.exists(), "a worker that serves")
