"""A process makes huge pages of the memory that it uses, and of no other."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from airfleet_provider.processes import huge_pages
from clocks import MadeUpClock

PROGRAM = """
import mmap
import sys

from airfleet_provider.processes import huge_pages

SIZE = int(huge_pages.SIZE.read_text())


def count():
    lines = huge_pages.MAPS.with_name("smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("AnonHugePages:")) * 1024 // SIZE


def use(how):
    # Two huge pages and one more, because the memory may begin anywhere.
    memory = mmap.mmap(-1, 3 * SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE if how == "refused" else mmap.MADV_NORMAL)
    for place in range(0, 3 * SIZE, SIZE // 4 if how == "empty" else mmap.PAGESIZE):
        memory[place] = place % 251
    return memory


memory = use(sys.argv[1])
before = memory[:: SIZE // 4]
was = count()
made = huge_pages.join_pages(lambda: 0.0)  # however busy the machine is
print(made, count() - was, memory[:: SIZE // 4] == before)
"""


def run(how: str) -> tuple[int, int, bool]:
    """Return how many huge pages a process says that it made, how many it made, and whether its memory is as before."""
    command = [sys.executable, "-c", PROGRAM, how]
    made, more, same = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout.split()
    return int(made), int(more), same == "True"


@pytest.fixture(scope="module")
def usual() -> tuple[int, int, bool]:
    """Return what a process makes of memory that it uses alone, where the kernel can."""
    if not huge_pages.SIZE.exists():
        pytest.skip("the kernel has no transparent huge pages (CONFIG_TRANSPARENT_HUGEPAGE)")
    found = run("used")
    if not found[0]:
        pytest.skip("the kernel makes no huge page at once: it is older than 6.1, or its memory is in small pieces")
    return found


def test_memory_in_use_becomes_huge_pages_and_stays_as_it_is(usual: tuple[int, int, bool]) -> None:
    made, more, same = usual
    assert made == more
    assert same


@pytest.mark.parametrize("how", ["empty", "refused"])
def test_memory_that_is_hardly_used_or_must_not_be_joined_stays(how: str, usual: tuple[int, int, bool]) -> None:
    made, more, same = run(how)
    assert made == more
    assert made < usual[0]
    assert same


@pytest.mark.parametrize(
    ("error", "tries"),
    [(errno.ENOMEM, 1), (errno.EBUSY, 1), (errno.EINVAL, 3)],
    ids=["host full", "group full", "other"],
)
def test_a_kernel_without_room_is_asked_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: int, tries: int
) -> None:
    asked: list[int] = []

    def join(start: int, _: int) -> int:
        asked.append(start)
        return error

    assert join_made_up(monkeypatch, tmp_path, "always [madvise] never", join) == 0
    assert len(asked) == tries


def test_an_administrator_who_wants_no_huge_pages_is_obeyed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert join_made_up(monkeypatch, tmp_path, "always [madvise] never", lambda *_: 0) == 3
    assert join_made_up(monkeypatch, tmp_path, "always madvise [never]", lambda *_: 0) == 0


def test_a_slow_kernel_is_not_asked_for_long(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clock = MadeUpClock()

    def join(*_: int) -> int:
        clock.now += 0.6 * huge_pages.PATIENCE_S
        return 0

    assert join_made_up(monkeypatch, tmp_path, "[always] madvise never", join, clock) == 2


def join_made_up(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    chosen: str,
    join: Callable[[int, int], int],
    clock: MadeUpClock | None = None,
) -> int:
    """Return how many of three pieces become huge pages of a kernel that `join` describes."""
    for name, text in (("SIZE", "2097152\n"), ("CHOSEN", f"{chosen}\n")):
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(huge_pages, name, tmp_path / name)
    monkeypatch.setattr(huge_pages, "_list_used", lambda size: (size * number for number in (1, 2, 3)))
    monkeypatch.setattr(huge_pages, "_join", join)
    return huge_pages.join_pages(clock or MadeUpClock())
