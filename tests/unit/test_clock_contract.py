"""The made-up clock of the tests behaves like this machine's clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from clocks import MadeUpClock


@dataclass(frozen=True)
class RealClock:
    """This machine's clock, with the methods of the made-up one."""

    sleep: Callable[[float], None] = time.sleep

    def __call__(self) -> float:
        return time.monotonic()


@pytest.fixture(params=[RealClock, MadeUpClock, lambda: MadeUpClock(reading_s=1.0)], ids=["real", "still", "ticking"])
def clock(request: pytest.FixtureRequest) -> RealClock | MadeUpClock:
    made: RealClock | MadeUpClock = request.param()
    return made


def test_it_never_goes_back(clock: RealClock | MadeUpClock) -> None:
    read = [clock() for _ in range(100)]
    assert read == sorted(read)


@pytest.mark.parametrize("seconds", [0.0, 0.02])
def test_a_pause_takes_its_time(clock: RealClock | MadeUpClock, seconds: float) -> None:
    before = clock()
    clock.sleep(seconds)
    assert clock() - before >= seconds


def test_nobody_pauses_for_less_than_nothing(clock: RealClock | MadeUpClock) -> None:
    with pytest.raises(ValueError, match="non-negative"):
        clock.sleep(-1.0)
