"""How much slower is a task while another one eats all that it can get? make bench-neighbours, as root.

make bench-neighbours                          neighbour_ratio of bench/results/scale.json, in about two minutes
make bench-neighbours ARGS="--rounds 40"       a quick look; nothing is kept of it

Both tasks are processes with a cgroup of their own, as `task_limits` gives one to a task, with the same limits. The
neighbour does a piece of work again and again: it computes, touches 8 MiB of new memory, writes and reads a file (as
most programs do, without fsync), and starts a process. Meanwhile the greedy one takes memory until the kernel kills it
and begins anew, computes in two processes for each CPU, writes and syncs files without end, or starts processes until
it gets no more.

`neighbour_ratio` is the worst of four: p95 of a piece of work beside the greedy one, divided by p95 of the same without
it. Both are measured in turns, three times each, so that other work on the machine hits both. `neighbour_kind` is the
version of cgroups.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import select
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from airfleet_provider.contract.task_limits import TaskLimits
from airfleet_provider.processes.cpu_share import INTERVAL_S, CpuShares
from airfleet_provider.processes.task_group import Groups, TaskGroup, find_groups
from support import RESULTS, say, wait

LIMITS = TaskLimits(memory=256 << 20, pids=64, cpus_high=1, disk_rate=20 << 20)
BAR_ROUNDS, TURNS = 200, 3
TOUCHED, PAGE, WRITTEN = 8 << 20, 4096, 256 << 10
# The greedy one has reached its limits by then.
SETTLE_S = 3.0


def work(folder: Path) -> None:
    """Do a piece of work as many tasks do: a little of everything."""
    digest = hashlib.sha256()
    for _ in range(16):
        digest.update(bytes(WRITTEN))
    memory = bytearray(TOUCHED)
    memory[::PAGE] = b"x" * (TOUCHED // PAGE)
    file = folder / "neighbour"
    file.write_bytes(memory[:WRITTEN])
    file.read_bytes()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def eat_memory(_: Path) -> None:
    """Take memory without end."""
    taken = []
    while True:
        memory = bytearray(TOUCHED)
        memory[::PAGE] = b"x" * (TOUCHED // PAGE)
        taken.append(memory)


def eat_cpu(_: Path) -> None:
    """Compute in two processes for each CPU."""
    for _child in range(2 * (os.cpu_count() or 1) - 1):
        if os.fork() == 0:
            break
    while True:
        hashlib.sha256(bytes(WRITTEN)).digest()


def eat_disk(folder: Path) -> None:
    """Write files without end, and see each of them onto the disk."""
    while True:
        with (folder / "greedy").open("wb") as file:
            for _ in range(64):
                file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())


def eat_pids(_: Path) -> None:
    """Start processes until the kernel refuses, and again when some have ended."""
    while True:
        try:
            if os.fork() == 0:
                time.sleep(0.2)
                os._exit(0)
        except OSError:
            time.sleep(0.001)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


GREEDY: dict[str, Callable[[Path], None]] = {"memory": eat_memory, "cpu": eat_cpu, "disk": eat_disk, "pids": eat_pids}


def fork_into(group: TaskGroup, deed: Callable[[], None]) -> int:
    """Fork a process that does something in a group, in a process group of its own; return its pid."""
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        try:
            group.join()
            deed()
        finally:
            os._exit(0)
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)
    return pid


@contextlib.contextmanager
def run_greedy(groups: Groups, eat: Callable[[Path], None], folder: Path) -> Iterator[None]:
    """Let a greedy task run, and begin again whenever the kernel has killed it."""
    group = groups.make(LIMITS)
    keeper = os.fork()
    if keeper == 0:
        os.setpgid(0, 0)
        # As a warm process does with the tasks that it has forked.
        shares = watch(group)
        while True:
            pid = fork_into(group, lambda: eat(folder))
            while os.waitpid(pid, os.WNOHANG) == (0, 0):
                shares.look(time.monotonic())
                time.sleep(INTERVAL_S / 10)
    with contextlib.suppress(OSError):
        os.setpgid(keeper, keeper)
    time.sleep(SETTLE_S)
    try:
        yield
    finally:
        end(keeper)
        wait(group.remove, "the end of the greedy task")


def watch(group: TaskGroup) -> CpuShares:
    """Return what lets a task yield that uses more CPUs than it may."""
    shares = CpuShares()
    if group.cpu is not None and LIMITS.cpus_high is not None:
        shares.add(group.cpu, LIMITS.cpus_high, time.monotonic())
    return shares


def end(keeper: int) -> None:
    """End a keeper and all that it has started, whatever process group it is in."""
    left = [keeper]
    while left:
        one = left.pop()
        with contextlib.suppress(OSError):
            # It starts nothing more while its children are looked for.
            os.kill(one, signal.SIGSTOP)
            left += [int(child) for child in Path(f"/proc/{one}/task/{one}/children").read_text().split()]
        with contextlib.suppress(OSError):
            os.kill(one, signal.SIGKILL)
    os.waitpid(keeper, 0)


def time_work(groups: Groups, folder: Path, rounds: int) -> list[float]:
    """Return the seconds of each piece of work of a neighbour, which works in a group of its own."""
    group, (reader, writer) = groups.make(LIMITS), os.pipe()

    def deed() -> None:
        took = []
        for _ in range(rounds):
            begun = time.perf_counter()
            work(folder)
            took.append(time.perf_counter() - begun)
            time.sleep(0.005)
        os.write(writer, json.dumps([round(one, 6) for one in took]).encode())

    pid = fork_into(group, deed)
    os.close(writer)
    shares = watch(group)
    while not select.select([reader], [], [], INTERVAL_S)[0]:
        shares.look(time.monotonic())
    with os.fdopen(reader) as answer:
        found: list[float] = json.loads(answer.read())
    os.waitpid(pid, 0)
    group.remove()
    return found


def find_p95(values: list[float]) -> float:
    """Return the 95th percentile."""
    return sorted(values)[int(len(values) * 0.95)]


def main() -> None:
    """Run the benchmark and print its figures.

    Raises:
        SystemExit: No cgroup can be made here.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=BAR_ROUNDS, help="pieces of work in each turn")
    wanted = parser.parse_args()
    groups = find_groups()
    if groups is None:
        raise SystemExit("no cgroup can be made here: run as root, or below a delegated unit")
    load, ratios, alone_ms = os.getloadavg()[0], {}, 0.0
    with tempfile.TemporaryDirectory(prefix="airfleet-bench-") as name:
        folder = Path(name)
        for kind, eat in GREEDY.items():
            alone: list[float] = []
            beside: list[float] = []
            for _ in range(TURNS):
                alone += time_work(groups, folder, wanted.rounds)
                with run_greedy(groups, eat, folder):
                    beside += time_work(groups, folder, wanted.rounds)
            ratios[kind], alone_ms = round(find_p95(beside) / find_p95(alone), 2), find_p95(alone) * 1e3
            say(f"{kind}: p95 {find_p95(beside) * 1e3:.1f} ms beside a greedy task, {alone_ms:.1f} ms without one")
    figures = {
        "neighbour_ratio": max(ratios.values()),
        "neighbour_ratios": ratios,
        "neighbour_kind": groups.kind,
        "neighbour_load": round(load, 1),
    }
    print(json.dumps(figures, indent=2))
    if wanted.rounds >= BAR_ROUNDS:
        path = RESULTS / "scale.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
