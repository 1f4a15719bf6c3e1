"""A drill's faults on real machines: each has its stated effect, and is undone even if the drill was killed."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from importlib import resources

import pytest

from airfleet.drills.attempt_log import read_log
from airfleet.drills.catalogue import Act, Fault
from airfleet.drills.injector import ShellInjector, read_attempts, read_clocks
from airfleet.errors import AirfleetError
from bed_injector import MachineShell
from deadline import wait_until
from machines import Bed

pytestmark = pytest.mark.hosts

WRITER = (resources.files("airfleet.drills") / "project/include/drill_ledger.py").read_text()
UNIT = "airfleet-scheduler.service"
TOY = f"""
systemctl stop airfleet-drill-back.timer 2>/dev/null || true
systemd-run --quiet --unit={UNIT} -p Restart=always -p RestartSec=0 \\
    sh -c 'while :; do date >> /tmp/ticks; sleep 0.05; done'
"""
NEVER = 600.0
# Seconds that a fault lasts: longer than it takes to see it, also on a busy machine.
LASTS_S = 15.0
# Seconds by which a clock is wrong: many more than an answer of a machine takes.
AHEAD_S = 300


@pytest.fixture
def shells(bed: Bed) -> Iterator[dict[str, MachineShell]]:
    """Root shells on the machines. A toy program runs in place of the scheduler of h1."""
    found = {machine.name: MachineShell(machine) for machine in bed.machines}
    assert found["h1"].run(TOY).code == 0
    yield found
    found["h1"].run(f"nft delete table inet airfleet_drill; systemctl stop airfleet-drill-back.timer {UNIT}")


def fault(act: Act, lasts_s: float | None = None) -> Fault:
    return Fault(act, "the active", "scheduler", lasts_s=lasts_s)


def is_ticking(bed: Bed) -> bool:
    count = "wc -l < /tmp/ticks"
    before = bed["h1"].run(f"sudo sh -c '{count}; sleep 0.3; {count}'").stdout.split()
    return before[0] != before[1]


def test_kill_ends_the_process_and_its_supervisor_starts_another(bed: Bed, shells: dict[str, MachineShell]) -> None:
    def pid() -> str:
        return bed["h1"].run(f"systemctl show --property=MainPID --value {UNIT}").stdout.strip()

    before = pid()
    ShellInjector(shells).inject(fault("kill"), ["h1"])
    wait_until(lambda: pid() not in ("0", before), "another process", every_s=0.5)
    assert is_ticking(bed)


def is_cut(bed: Bed) -> bool:
    return bed["h2"].run("ping -c 3 -i 0.3 -W 2 h1", check=False).returncode != 0


def is_full(bed: Bed) -> bool:
    return "No space left" in bed["h1"].run("dd if=/dev/zero of=big bs=1M count=4; rm big", check=False).stderr


@pytest.mark.parametrize(
    ("act", "is_struck"),
    [
        ("freeze", lambda bed: not is_ticking(bed)),
        ("cut off", is_cut),
        ("fill the disk of", is_full),
    ],
)
def test_what_lasts_is_taken_back_by_the_drill(
    bed: Bed, shells: dict[str, MachineShell], act: Act, is_struck: Callable[[Bed], bool]
) -> None:
    injector = ShellInjector(shells)
    assert not is_struck(bed)
    injector.inject(fault(act, NEVER), ["h1"])
    assert is_struck(bed)
    injector.revert(fault(act, NEVER), ["h1"])
    assert not is_struck(bed)
    assert bed["h1"].run("systemctl list-timers --all", check=False).stdout.count("airfleet-drill-back") == 0


@pytest.mark.parametrize("act", ["freeze", "cut off"])
def test_what_lasts_is_taken_back_by_the_host_when_nobody_else_does(
    bed: Bed, shells: dict[str, MachineShell], act: Act
) -> None:
    def is_struck() -> bool:
        return is_cut(bed) if act == "cut off" else not is_ticking(bed)

    ShellInjector(shells, grace_s=0.0).inject(fault(act, LASTS_S), ["h1"])
    assert is_struck()
    wait_until(lambda: not is_struck(), "the host takes it back", every_s=0.5)


def test_a_host_without_the_component_says_so(shells: dict[str, MachineShell]) -> None:
    with pytest.raises(AirfleetError, match="no such service here") as caught:
        ShellInjector(shells).inject(fault("kill"), ["h2"])
    assert caught.value.where == "h2"


def test_what_hosts_wrote_is_placed_in_one_time_however_wrong_their_clocks_are(
    bed: Bed, shells: dict[str, MachineShell]
) -> None:
    instance = '{"dag": "d", "run": "r", "task": "%s", "map": -1, "try": 1}'
    code = 'import pathlib, drill_ledger as ledger; ledger.work(pathlib.Path("/tmp/l"), {}, 0.2)'
    bed["h3"].skew_clock(AHEAD_S)
    before = time.time()
    for host in ("h2", "h3", "h1"):
        bed[host].run("cat > /tmp/drill_ledger.py", text=WRITER)
        service = "systemd-run --quiet --wait --pipe -p WorkingDirectory=/tmp"
        assert shells[host].run(f"{service} python3 -c {shlex.quote(code.format(instance % host))}").code == 0
    after = time.time()
    bed["h3"].skew_clock(0)
    clocks = read_clocks(shells, time.time)
    attempts = read_log(read_attempts(shells, "/tmp/l"), clocks).attempts
    assert [one.instance.task for one in attempts] == ["h2", "h3", "h1"]
    assert [one.host for one in attempts] == ["h2", "h3", "h1"]
    unsure_s = clocks.unsure_s + 0.1
    assert all(before - unsure_s <= one.started <= one.last_sign <= after + unsure_s for one in attempts)
    assert unsure_s < AHEAD_S / 2
