"""Where tasks go when they are packed: real Celery workers at a real RabbitMQ, with the queues of a fleet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import brokers
import slot_site
from airfleet.components.rabbitmq import private_node, server
from deadline import PATIENCE_S, wait_until

SLOTS = 4


class Packed:
    """Two workers, `a` and `b`, whose slots and ranks a test sets."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, int | None]] = {"a": (SLOTS, 0), "b": (SLOTS, 1)}
        self.desk = slot_site.SlotDesk(lambda host: self.answers[host])
        self.site: slot_site.SlotSite

    def set(self, **answers: tuple[int, int | None]) -> None:
        """Give workers these slots and ranks, and wait until they keep to them.

        They report no rank. It is in force with slots that are others than before.
        """
        self.answers.update(answers)
        self.desk.news.clear()
        self._wait(
            lambda: all(
                host in self.desk.news and self.desk.news[host].in_force == slots
                for host, (slots, _) in answers.items()
            ),
            "workers that know their slots",
        )

    def hold(self, *names: str) -> None:
        """Send tasks that do not end, and wait until each has begun."""
        for name in names:
            (self.site.log.parent / name).touch()
            self.site.send(name, 0.0)
        self._wait(lambda: set(names) <= self.find("begun").keys(), f"the start of {names}")

    def release(self, *names: str) -> None:
        """Let tasks end, and wait until their workers have noticed."""
        for name in names:
            (self.site.log.parent / name).unlink()
        self._wait(lambda: set(names) <= self.find("ended").keys(), f"the end of {names}")
        self.desk.news.clear()
        self._wait(lambda: self.desk.news.keys() == self.answers.keys(), "reports after that")

    def find(self, what: str) -> dict[str, str]:
        """Return the host of each task that has begun, or ended."""
        return {name: host for said, name, host, _ in self.site.read() if said == what}

    def _wait(self, is_so: Callable[[], bool], what: str) -> None:
        wait_until(is_so, what, seen=lambda: (slot_site.describe(self.site), self.desk.news))


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Packed]:
    monkeypatch.setattr(private_node, "QUEUE_TYPE", server.QUEUE_TYPE)
    found = Packed()
    env = {"SLOTS_GIVEN_UP_S": "1"}
    with (
        brokers.serve(queues=(slot_site.QUEUE,)) as broker,
        slot_site.run_workers(tmp_path, broker, found.desk, ("a", "b"), SLOTS, pool="threads", env=env) as found.site,
    ):
        found.set(**found.answers)
        yield found
        found.desk.is_silent = False
        for path in tmp_path.glob("task-*"):
            path.unlink()
    found.desk.close()


def test_tasks_go_to_the_first_worker_with_a_free_slot_and_to_another_when_the_order_changes(packed: Packed) -> None:
    first, more = [f"task-{one}" for one in range(SLOTS)], [f"task-more{one}" for one in range(2)]
    packed.hold(*first)
    assert {packed.find("begun")[one] for one in first} == {"a"}
    packed.hold(*more)
    assert {packed.find("begun")[one] for one in more} == {"b"}, "the first is full"
    packed.set(a=(SLOTS - 1, 2))
    packed.release(*first, *more)
    packed.hold("task-after")
    assert packed.find("begun")["task-after"] == "b", "the first is now the last"
    packed.release("task-after")

    # A worker without slots keeps what it has, and gets nothing, though it is the first.
    packed.set(a=(SLOTS, 0))
    packed.hold("task-old")
    packed.set(a=(0, 0))
    packed.hold("task-new")
    assert (packed.find("begun")["task-old"], packed.find("begun")["task-new"]) == ("a", "b")
    packed.release("task-old", "task-new")
    assert packed.find("ended")["task-old"] == "a"

    # The worker with all slots is killed, and nobody answers: the one without slots does its work again.
    packed.hold("task-lost")
    assert packed.find("begun")["task-lost"] == "b"
    packed.desk.is_silent = True
    packed.site.workers["b"].kill()
    packed.site.workers["b"].wait(PATIENCE_S)
    wait_until(lambda: packed.find("begun")["task-lost"] == "a", "the task at the other worker")
    names = [name for what, name, _, _ in packed.site.read() if what == "ended"]
    assert sorted(names) == sorted([*first, *more, "task-after", "task-old", "task-new"]), "each ran once"
