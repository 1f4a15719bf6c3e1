"""The keeper that is forked serves until the lean one is ready, and no request is lost between the two."""

from __future__ import annotations

from airfleet_provider.runtime import messages
from airfleet_provider.runtime.keeper import Keeper
from airfleet_provider.runtime.limits import Limits


def test_relieved_keeper_leaves_later_requests_to_the_other() -> None:
    supervisor, requests = messages.pair()
    lean, relief = messages.pair()
    messages.send(lean, {"ready": True})
    keeper = Keeper(requests, Limits(), 2, relief)
    keeper.serve()
    assert keeper.is_relieved
    messages.send(supervisor, {"bundle": "b"})
    assert messages.receive(requests)[0] == {"bundle": "b"}


def test_keeper_whose_relief_dies_serves_on_until_nobody_is_left() -> None:
    supervisor, requests = messages.pair()
    lean, relief = messages.pair()
    lean.close()
    keeper = Keeper(requests, Limits(), 2, relief)
    keeper.refusals[messages.Home("b", None, "d.py")] = ("no", float("inf"))
    answers, given = messages.pair()
    order = {"bundle": "b", "version": None, "path": "d.py"}
    fillers = [messages.pair()[0] for _ in range(messages.TASK_DESCRIPTORS - 1)]
    messages.send(supervisor, order, [*(one.fileno() for one in fillers), given.fileno()])
    supervisor.close()
    keeper.serve()
    assert not keeper.is_relieved
    assert messages.receive(answers)[0] == {"refused": "no"}
