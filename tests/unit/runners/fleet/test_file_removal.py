"""Files that are no longer wanted are removed, and empty folders with them."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

from airfleet.runners.fleet.plan import diff, steps
from airfleet.runners.fleet.plan.diff import DesiredHost
from airfleet.runners.fleet.plan.steps import RemoveFile
from converged_hosts import converged
from places import NINE, RUNTIME, desired, with_setting


def removals(before: DesiredHost, after: DesiredHost) -> set[RemoveFile]:
    actions = (step.action for step in diff.decide(after, converged(before)))
    return {action for action in actions if isinstance(action, RemoveFile)}


def test_a_folder_of_the_configuration_goes_with_its_last_file_where_none_is_wanted_there() -> None:
    before, moved = desired("cpu1"), with_setting(NINE, "pools: [default, cpu]", "pools: [default]")
    after = desired("cpu1", with_setting(moved, "pools: [memory]", "pools: [memory, cpu]"))
    nobody = replace(before, parts=())
    kept, gone = removals(before, after), removals(before, nobody)
    assert kept and not any(one.with_folder for one in kept)
    assert {one.path.parent.name for one in gone if one.with_folder} == {"haproxy", "tls", "worker", RUNTIME}


def test_a_folder_stays_until_it_is_empty(tmp_path: Path) -> None:
    first, last = tmp_path / "units" / "a", tmp_path / "units" / "b"
    first.parent.mkdir()
    first.touch()
    last.touch()

    def remove(path: Path) -> None:
        subprocess.run(["sh", "-euc", steps.script(RemoveFile(path, with_folder=True))], check=True)

    remove(first)
    assert last.exists()
    remove(last)
    assert not first.parent.exists()
    remove(last)  # as after a step that was interrupted
