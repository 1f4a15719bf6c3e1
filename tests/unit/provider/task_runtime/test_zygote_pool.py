"""The keeper that is forked serves until the lean one is ready, and no request is lost between the two."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys

import psutil
import pytest

from airfleet_provider.processes import fd_messages
from airfleet_provider.task_runtime.eviction import ZygoteLimits, ZygoteUsage
from airfleet_provider.task_runtime.pool_key import PoolKey
from airfleet_provider.task_runtime.zygote_pool import RETRY_S, ZygoteHandle, ZygotePool
from clocks import MadeUpClock
from deadline import PATIENCE_S, wait_until

# A pool without requests; its child ends when there is input.
POOL = """
import os, sys
from airfleet_provider.processes import fd_messages
from airfleet_provider.task_runtime.eviction import ZygoteLimits
from airfleet_provider.task_runtime.zygote_pool import ZygotePool

supervisor, requests = fd_messages.pair()
pool = ZygotePool(requests, ZygoteLimits(), 2)
pool.watch_children()
if os.fork() == 0:
    sys.stdin.readline()
    os._exit(0)
pool.serve()
"""


def test_relieved_keeper_leaves_later_requests_to_the_other() -> None:
    supervisor, requests = fd_messages.pair()
    lean, relief = fd_messages.pair()
    fd_messages.send(lean, {"ready": True})
    keeper = ZygotePool(requests, ZygoteLimits(), 2, relief)
    keeper.serve()
    assert keeper.is_relieved
    fd_messages.send(supervisor, {"bundle": "b"})
    assert fd_messages.receive(requests)[0] == {"bundle": "b"}


def test_keeper_whose_relief_dies_serves_on_until_nobody_is_left() -> None:
    supervisor, requests = fd_messages.pair()
    lean, relief = fd_messages.pair()
    lean.close()
    keeper = ZygotePool(requests, ZygoteLimits(), 2, relief)
    keeper.refusals[PoolKey("b", None, "d.py")] = ("no", float("inf"))
    answers, given = fd_messages.pair()
    order = {"bundle": "b", "version": None, "path": "d.py"}
    fillers = [fd_messages.pair()[0] for _ in range(fd_messages.TASK_DESCRIPTORS - 1)]
    fd_messages.send(supervisor, order, [*(one.fileno() for one in fillers), given.fileno()])
    supervisor.close()
    keeper.serve()
    assert not keeper.is_relieved
    assert fd_messages.receive(answers)[0] == {"refused": "no"}


@pytest.mark.parametrize(("lasting", "is_tried_again"), [(True, False), (False, True)])
def test_a_load_that_failed_for_a_passing_reason_is_tried_again(lasting: bool, is_tried_again: bool) -> None:
    clock = MadeUpClock()
    _, requests = fd_messages.pair()
    keeper = ZygotePool(requests, ZygoteLimits(), 2, clock=clock)
    pool_key = PoolKey("shop", "r1", "dags/small.py")
    ours, theirs = fd_messages.pair()
    found = ZygoteHandle(ours, ZygoteUsage(born=0.0, used=0.0))
    keeper.zygotes[pool_key] = found
    keeper.selector.register(ours, selectors.EVENT_READ)
    fd_messages.send(theirs, {"refused": "no web host answers", "lasting": lasting})
    keeper._hear_zygote(pool_key, found)
    assert keeper._find_refusal(pool_key) == "no web host answers"
    clock.now = RETRY_S
    assert (keeper._find_refusal(pool_key) is None) == is_tried_again


def test_a_child_that_ends_while_no_request_comes_does_not_stay_a_zombie() -> None:
    command = [sys.executable, "-c", POOL]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, "PYTHONPATH": ":".join(sys.path)}) as pool:
        try:
            assert pool.stdin
            process = psutil.Process(pool.pid)
            (child,) = wait_until(process.children, "the child")
            wait_until(lambda: process.status() == psutil.STATUS_SLEEPING, "the pool waits for requests")
            pool.stdin.close()
            wait_until(lambda: not process.children(), "the end of the child", seen=child.status)
        finally:
            pool.kill()
            pool.wait(PATIENCE_S)
