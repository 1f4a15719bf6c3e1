"""Children that work in parallel, and what is left when they do not live to answer."""

from __future__ import annotations

import inspect
import os
import signal
import struct
import threading
import time
from collections.abc import Callable, Sequence

from airfleet_provider.processes import fork_pool
from deadline import wait_until
from living import is_alive

HANG_S = 600


def behave(item: str) -> bytes:
    match item.split("-", maxsplit=1)[0]:
        case "exit":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            time.sleep(HANG_S)
    return f"{item} {os.getpid()}".encode()


def prepare(_: object) -> Callable[[str], bytes]:
    return behave


def test_few_children_answer_for_many_items() -> None:
    items = [str(number) for number in range(50)]
    outcomes = list(fork_pool.work_through(items, prepare, count=3, timeout_s=60))
    answers = [(outcome.answer or b"").decode().split() for outcome in outcomes]
    assert sorted(item for item, _ in answers) == sorted(items)
    assert len({pid for _, pid in answers}) <= 3
    assert all(outcome.error is None for outcome in outcomes)


def test_a_child_that_dies_or_hangs_costs_only_its_item() -> None:
    items = ["a", "exit-1", "b", "kill-1", "c", "hang-1", "d", "exit-2"]
    # A busy machine may let a child wait for seconds before it begins.
    outcomes = {outcome.item: outcome for outcome in fork_pool.work_through(items, prepare, count=2, timeout_s=10)}
    assert set(outcomes) == set(items)
    assert {item for item, outcome in outcomes.items() if outcome.answer} == {"a", "b", "c", "d"}
    assert "exited with 3" in str(outcomes["exit-1"].error)
    assert "SIGKILL" in str(outcomes["kill-1"].error)
    assert "still not parsed" in str(outcomes["hang-1"].error)


def test_a_child_that_asks_without_end_has_no_more_time_than_others() -> None:
    def prepare_pester(ask: Callable[[bytes], bytes]) -> Callable[[str], bytes]:
        channel = inspect.getclosurevars(ask).nonlocals["theirs"]

        def drain() -> None:
            while os.read(channel.fileno(), 1 << 20):
                pass

        def pester(_: str) -> bytes:
            threading.Thread(target=drain, daemon=True).start()
            question = fork_pool.QUESTION + fork_pool.SEPARATOR
            # Its own process may write faster than others read.
            many = (struct.pack("!i", len(question)) + question) * 5000
            while True:
                os.write(channel.fileno(), many)

        return pester

    (outcome,) = fork_pool.work_through(["a"], prepare_pester, count=1, timeout_s=0.5)
    assert "still not parsed" in str(outcome.error)


def test_what_an_item_leaves_in_a_child_cannot_ask_in_the_name_of_a_later_one() -> None:
    """A thread of the first item asks while the child works on the second, which may know the answer."""

    def prepare_two(ask: Callable[[bytes], bytes]) -> Callable[[str], bytes]:
        left = []

        def behave_so(item: str) -> bytes:
            if item == "hostile":
                left.append(item)
                return b""
            # The code of the first item, run by whatever it has left.
            return ask(b"as mine") + (b", which the first item has too" if left else b"")

        return behave_so

    asked = []

    def answer(given: Sequence[str], question: bytes) -> fork_pool.Reply | None:
        asked.append((tuple(given), question))
        return None if "hostile" in given else fork_pool.Reply(b"secret")

    work = fork_pool.work_through(["hostile", "honest"], prepare_two, count=1, timeout_s=60, answer=answer)
    outcomes = {one.item: one.answer for one in work}
    assert outcomes == {"hostile": b"", "honest": b"secret"}
    assert asked == [(("hostile", "honest"), b"as mine"), (("honest",), b"as mine")]


def test_what_is_kept_from_others_stays_in_no_child_that_works_on_another_item() -> None:
    """The second item looks through the memory of the child that worked on the first, and the fourth of the third."""

    def prepare_memory(ask: Callable[[bytes], bytes]) -> Callable[[str], bytes]:
        memory = [b""]

        def behave_so(item: str) -> bytes:
            found = memory[-1]
            if item.startswith("honest"):
                memory.append(ask(item.encode()))
            return found

        return behave_so

    def answer(_: Sequence[str], question: bytes) -> fork_pool.Reply:
        return fork_pool.Reply(b"secret", is_kept=question == b"honest 1")

    items = ["honest 1", "hostile 1", "honest 2", "hostile 2"]
    work = fork_pool.work_through(items, prepare_memory, count=1, timeout_s=60, answer=answer)
    found = {one.item: one.answer for one in work}
    assert found == {"honest 1": b"", "hostile 1": b"", "honest 2": b"", "hostile 2": b"secret"}


def test_a_caller_that_stops_leaves_no_child() -> None:
    work = fork_pool.work_through(["a", "hang-1"], prepare, count=2, timeout_s=60)
    pid = int((next(work).answer or b"").decode().split()[1])
    work.close()  # type: ignore[attr-defined]
    wait_until(lambda: not is_alive(pid), "the end of the child")
