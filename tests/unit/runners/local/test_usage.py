"""Memory and CPU of components are those that the kernel counts for them and all their descendants."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest

from airfleet.runners.local.usage import measure
from airfleet.workspace.state_folder import ProcessStatus, Snapshot
from deadline import PATIENCE_S, wait_until

# Has a child that has a child. The first takes half a second of CPU, and all wait until their input ends.
TREE = """
import os, subprocess, sys, time
depth = int(sys.argv[1])
if depth:
    subprocess.Popen([sys.executable, __file__, str(depth - 1)])
    while time.process_time() < 0.5:
        pass
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[psutil.Process]:
    program = tmp_path_factory.mktemp("tree") / "a (b) c.py"
    program.write_text(TREE)
    words = [sys.executable, str(program), "2"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(3):
            assert process.stdout.readline() == "ready\n"
        yield psutil.Process(process.pid)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(PATIENCE_S)


def test_a_component_uses_what_its_descendants_use(tree: psutil.Process) -> None:
    family = [tree, *tree.children(recursive=True)]
    assert len(family) == 3
    component = ProcessStatus("scheduler", "healthy", tree.pid, 0.0, 0, "", "")
    gone = replace(component, name="gone", pid=2**22 + 1)
    snapshot = Snapshot("x", "/srv", 1, 1.0, "healthy", "", 1.0, (), (component, gone, replace(component, pid=None)))

    used = measure(snapshot)

    wait_until(lambda: all(one.status() == psutil.STATUS_SLEEPING for one in family), "processes that wait")
    assert set(used) == {"scheduler", "gone"}
    assert used["gone"].cpu_s == used["gone"].memory_mib == 0
    assert used["scheduler"].cpu_s == pytest.approx(
        sum(one.cpu_times().user + one.cpu_times().system for one in family), abs=0.1
    )
    pss = sum(one.memory_full_info().pss for one in family) / 2**20
    assert used["scheduler"].memory_mib == pytest.approx(pss, rel=0.2)


def test_a_clock_that_is_set_hides_no_process(tree: psutil.Process, monkeypatch: pytest.MonkeyPatch) -> None:
    own = ProcessStatus("worker", "healthy", psutil.Process(tree.pid).ppid(), 0.0, 0, "", "")
    snapshot = Snapshot("x", "/srv", 1, 1.0, "healthy", "", 1.0, (), (own,))
    before = measure(snapshot)["worker"]
    since_boot = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: since_boot - 3600)
    words = [sys.executable, "-c", "import sys; x = b'x' * (64 << 20); print(flush=True); sys.stdin.read()"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        after = measure(snapshot)["worker"]
        process.communicate(timeout=PATIENCE_S)
    assert after.memory_mib > before.memory_mib + 50


def test_a_process_that_ends_while_it_is_measured_counts_no_more(
    tree: psutil.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(process: psutil.Process) -> None:
        raise psutil.AccessDenied(process.pid)

    def miss(process: psutil.Process) -> None:
        raise psutil.NoSuchProcess(process.pid)

    monkeypatch.setattr("psutil._pslinux.Process.memory_full_info", deny)
    monkeypatch.setattr("psutil._pslinux.Process.memory_info", miss)
    component = ProcessStatus("worker", "healthy", tree.pid, 0.0, 0, "", "")
    assert measure(Snapshot("x", "/srv", 1, 1.0, "healthy", "", 1.0, (), (component,)))["worker"].memory_mib == 0


def test_a_fork_of_another_process_counts_for_the_component_that_it_works_for(tree: psutil.Process) -> None:
    (child,) = tree.children()
    component = ProcessStatus("worker", "healthy", child.pid, 0.0, 0, "", "")
    alone, both = (
        measure(Snapshot("x", "/srv", 1, 1.0, "healthy", "", 1.0, (), (replace(component, forks=forks),)))["worker"]
        for forks in ((), (psutil.Process().pid,))
    )
    assert both.memory_mib > alone.memory_mib
