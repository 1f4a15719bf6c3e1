"""Fall-backs in `airfleet status`: summed over all hosts, whatever a task may write into the files."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from airfleet.operations import fallbacks
from airfleet.runners.fleet.transport import sections
from airfleet_provider.contract.fallbacks import FILE_BYTES, Counter
from deadline import PATIENCE_S


def run_look(home: Path) -> str:
    """Run the script for a host on this machine and return its output."""
    script = fallbacks.build_look(home, "root").replace('runuser -u "$LOGIN" -- ', "")
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=True, timeout=PATIENCE_S)
    return done.stdout.decode(errors="replace")


def write(home: Path) -> None:
    starts = Counter("task-start", home / "fallbacks")
    starts.took_fast(98)
    starts.fell_back("dags/x.py: loading it left 1 connections open")
    starts.fell_back("dags/y.py: line 1: AIRFLEET_WARM_START = False", expected=True)
    calls = Counter("execution-api", home / "fallbacks")
    calls.took_fast(3)
    calls.fell_back("run: OperationalError: permission denied for table task_instance")


def test_status_has_shares_and_reasons_of_this_machine(tmp_path: Path) -> None:
    write(tmp_path)
    courses = fallbacks.read_here(tmp_path)
    said: dict[str, Any] = fallbacks.describe(courses)
    assert (said["warm_starts"], said["cold_starts"], said["fast_path_share"]) == (98, 2, 0.75)
    assert said["paths"]["task-start"]["share"] == 0.98
    assert said["paths"]["scheduler-wake"] == {
        "what": "waits of the scheduler with notifications from the database",
        "fast": 0,
        "slow": 0,
        "share": None,
        "reasons": [],
    }
    lines = list(fallbacks.list_lines(courses))
    assert "task-start: 98 tasks started from a warm process, 2 not" in lines
    assert any(line.endswith("ago: dags/x.py: loading it left 1 connections open") for line in lines)
    assert not any("dags/y.py" in line for line in lines)  # the author asked for it


def test_hosts_are_added_up_and_each_reason_names_its_host(tmp_path: Path) -> None:
    found = []
    for host in ("work1", "work2"):
        (tmp_path / host).mkdir()
        write(tmp_path / host)
        now, tallies = fallbacks.parse(run_look(tmp_path / host))
        assert now > 0
        found.append((host, now, tallies))
    said: dict[str, Any] = fallbacks.describe(fallbacks.build(found))
    assert (said["warm_starts"], said["cold_starts"]) == (196, 4)
    reasons = said["paths"]["task-start"]["reasons"]
    assert {one["where"] for one in reasons} == {"work1", "work2"}
    assert all(0 <= one["age_s"] < PATIENCE_S for one in reasons)


def test_a_host_without_files_or_with_garbage_in_their_place_is_read_all_the_same(tmp_path: Path) -> None:
    assert fallbacks.describe(fallbacks.build([("h1", *fallbacks.parse(run_look(tmp_path)))]))["cold_starts"] == 0
    write(tmp_path)
    folder = tmp_path / "fallbacks"
    (folder / "task-start.json").write_bytes(b"\xff" * 10 * FILE_BYTES)
    forged = f"{sections.MARK} task-start.count\n9\n"
    (folder / "scheduler-wake.json").write_text(f'{{"x": [1, 1e400, false]}}\n{forged}')
    output = run_look(tmp_path)
    assert len(output) < 3 * FILE_BYTES
    said: dict[str, Any] = fallbacks.describe(fallbacks.build([("h1", *fallbacks.parse(output))]))
    assert (said["warm_starts"], said["cold_starts"], said["fast_path_share"]) == (98, 0, 0.75)
    assert fallbacks.build([("h1", *fallbacks.parse("garbage"))])
