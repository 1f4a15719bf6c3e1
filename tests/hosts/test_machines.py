"""The test bed itself: the guarantees that tests and drills rely on."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deadline import wait_until
from machines import Bed, MachineError
from machines.bed import clean_up
from machines.system import find_home, run

pytestmark = pytest.mark.hosts

SUPPORT = Path(__file__).parents[1] / "support"
OWNER = """
import sys, time
from machines import Bed
bed = Bed.create(1, bed=sys.argv[1])
bed.wait_ready()
print("ready", flush=True)
time.sleep(600)
"""
HOLD = """
import pathlib, socket
held = socket.create_connection(("h2", 22))
held.recv(99)
pathlib.Path("open").touch()
held.settimeout(3)
try:
    held.recv(1)
    print("ended")
except TimeoutError:
    print("silent")
except OSError as error:
    print(error)
"""


@pytest.fixture
def outside(bed: Bed) -> Iterator[str]:
    """An address outside every bed, which machines reach through this box."""
    name = f"out-{bed.layout.bed}"
    try:
        run("ip", "netns", "add", name)
        run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "address", "add", "10.213.255.1/30", "dev", name)
        run("ip", "link", "set", name, "up")
        run("ip", "-n", name, "address", "add", "10.213.255.2/30", "dev", "eth0")
        run("ip", "-n", name, "link", "set", "eth0", "up")
        yield "10.213.255.2"
    finally:
        run("ip", "link", "delete", name, check=False)
        run("ip", "netns", "delete", name, check=False)


def reaches(machine: str, bed: Bed, other: str) -> bool:
    return bed[machine].run(f"ping -c 3 -i 0.3 -W 2 {other}", check=False).returncode == 0


def find_traces(bed: str) -> list[str]:
    """Return everything that this box still has under a bed's id."""
    places = (
        *run("ip", "-brief", "link").splitlines(),
        *run("ip", "netns", "list").splitlines(),
        *run("nft", "list", "tables").splitlines(),
        *Path("/proc/self/mountinfo").read_text().splitlines(),
        # Unlike a glob, a walk bears that a group is removed meanwhile.
        *(f"{at}/{name}" for at, names, _ in os.walk("/sys/fs/cgroup") for name in names if "airfleet-" in name),
        *(str(one) for one in (find_home() / "beds").iterdir()),
        *run("ps", "-eo", "args").splitlines(),
    )
    names = (f"af-{bed}", f"airfleet_{bed}", f"airfleet-{bed}", f"beds/{bed}", f"watch {bed}")
    return [one for one in places if any(name in one for name in names)]


def test_machines_boot_whole_and_know_each_other_by_name(bed: Bed) -> None:
    for machine in bed.machines:
        assert machine.run("systemctl is-system-running").stdout.strip() == "running"
        assert machine.run("hostname && sudo id -u").stdout.split() == [machine.name, "0"]
        assert all(reaches(machine.name, bed, other.name) for other in bed.machines)


def test_what_a_command_says_and_how_it_ends_comes_back(bed: Bed) -> None:
    done = bed["h1"].run("cat; echo talk >&2; exit 3", text="data", check=False)
    assert (done.stdout, done.stderr.strip(), done.returncode) == ("data", "talk", 3)
    with pytest.raises(MachineError, match="h1: false"):
        bed["h1"].run("false")


def test_the_limits_of_a_unit_hold(bed: Bed) -> None:
    take = "sudo systemd-run --quiet --wait --pipe -p MemoryMax=50M python3 -c 'bytearray({}); print(1)'"
    assert bed["h1"].run(take.format("1 << 20"), check=False).stdout == "1\n"
    assert bed["h1"].run(take.format("200 << 20"), check=False).stdout == ""


def test_a_partition_cuts_two_sides_and_nobody_else(bed: Bed) -> None:
    bed.partition(["h1"], ["h2"])
    assert not reaches("h1", bed, "h2")
    assert not reaches("h2", bed, "h1")
    assert reaches("h1", bed, "h3")
    bed.heal()
    wait_until(lambda: reaches("h1", bed, "h2"), "h1 reaches h2 again", every_s=0.5)


def test_the_way_out_can_be_cut_and_leaves_the_bed_whole(bed: Bed, outside: str) -> None:
    connect = f"python3 -c 'import socket; socket.create_connection((\"{outside}\", 80), timeout=1)'"
    assert "ConnectionRefused" in bed["h1"].run(connect, check=False).stderr, "the other end is reached and says no"
    bed.go_offline("h1")
    assert "TimeoutError" in bed["h1"].run(connect, check=False).stderr
    assert "ConnectionRefused" in bed["h2"].run(connect, check=False).stderr
    assert reaches("h1", bed, "h2")


def test_a_pulled_plug_is_silent_and_power_brings_the_disk_back(bed: Bed) -> None:
    bed["h2"].run("echo kept > file")
    bed["h1"].run(
        f"rm -f open ended; nohup python3 -c {shlex.quote(HOLD)} > ended & while [ ! -e open ]; do sleep 0.05; done"
    )
    bed["h2"].pull_plug()
    assert not bed["h2"].is_on()
    assert not bed["h2"].is_ready()
    assert "Server listening" in bed["h2"].read_logs("ssh")
    ended = wait_until(lambda: bed["h1"].run("cat ended").stdout, "the end of the held connection", every_s=1)
    assert ended == "silent\n"
    bed["h2"].power_on()
    bed["h2"].wait_ready()
    assert bed["h2"].run("cat file").stdout == "kept\n"


def test_a_frozen_machine_does_nothing_until_it_is_thawed(bed: Bed) -> None:
    bed["h3"].run("nohup sh -c 'while :; do echo >> ticks; sleep 0.02; done' >/dev/null 2>&1 & sleep 0.3")
    ticks = bed["h3"].root / "home/ops/ticks"
    bed["h3"].freeze()
    before = ticks.stat().st_size
    with pytest.raises(subprocess.TimeoutExpired):
        bed["h3"].run("true", timeout_s=1)
    assert ticks.stat().st_size == before
    bed["h3"].thaw()
    wait_until(lambda: ticks.stat().st_size > before, "more ticks")


def test_a_full_disk_refuses_and_can_be_freed(bed: Bed) -> None:
    write = "dd if=/dev/zero of=big bs=1M count=4"
    bed["h3"].fill_disk()
    assert "No space left" in bed["h3"].run(write, check=False).stderr
    bed["h3"].free_disk()
    bed["h3"].run(write)


def test_a_skewed_clock_is_seen_by_services_started_afterwards(bed: Bed) -> None:
    def see() -> tuple[float, float]:
        """Return how many seconds a service's clock is ahead, and how long it sleeps in a second of sleep."""
        code = "import time; a = time.monotonic(); time.sleep(1); print(time.time(), time.monotonic() - a)"
        said = bed["h3"].run(f"sudo systemd-run --quiet --wait --pipe python3 -c '{code}'; date +%s").stdout.split()
        return float(said[0]) - float(said[2]), float(said[1])

    # A second may pass between two looks at clocks, and on a busy machine many.
    bed["h3"].skew_clock(3600)
    ahead, slept = see()
    assert 3300 <= ahead <= 3601
    assert 1 <= slept < 300
    bed["h3"].skew_clock(0)
    assert -300 <= see()[0] <= 1


def test_a_reboot_ends_every_process_and_keeps_the_disk(bed: Bed) -> None:
    bed["h1"].run(
        "echo kept > file; sudo systemd-run --quiet --unit=short sleep 1000; sudo ip address add 10.213.0.9/32 dev eth0"
    )
    bed["h1"].reboot()
    assert bed["h1"].run("cat file").stdout == "kept\n"
    assert bed["h1"].run("systemctl is-active short", check=False).stdout == "inactive\n"
    assert "10.213.0.9" not in bed["h1"].run("ip address").stdout


@pytest.mark.parametrize("watched", [True, False], ids=["a watcher", "the next run"])
def test_a_bed_whose_owner_is_killed_is_taken_away_by(watched: bool, bed: Bed) -> None:
    mine = "kill1" if watched else "kill2"
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, mine],
        env={**os.environ, "PYTHONPATH": str(SUPPORT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == "ready\n"
    assert not reaches("h1", bed, Bed.open(mine)["h1"].address), "beds do not see each other"
    if not watched:
        watcher = run("pgrep", "--full", f"machines watch {mine}$")
        os.kill(int(watcher), signal.SIGKILL)
    owner.kill()
    owner.wait()
    if not watched:
        assert find_traces(mine)
        assert clean_up() == (mine,)
    wait_until(lambda: not find_traces(mine), f"no trace of {mine}", seen=lambda: find_traces(mine))
    assert reaches("h1", bed, "h2"), "another bed is left alone"


def test_names_that_cannot_be_are_refused_before_anything_is_made() -> None:
    for names in (["H1"], ["a", "a"], [], ["-a"]):
        with pytest.raises(MachineError):
            Bed.create(names, bed="names")
    with pytest.raises(MachineError, match="no name for a bed"):
        Bed.create(1, bed="much-too-long")
