"""The scripts that deal faults, before any host sees them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from airfleet.drills.catalogue import CATALOGUE, Drill
from airfleet.drills.fault_scripts import write_scripts
from airfleet.drills.operator_actions import COMMANDS

BLOWS = [drill for drill in CATALOGUE.values() if drill.fault.act not in COMMANDS]
DRILLS = pytest.mark.parametrize("drill", BLOWS, ids=lambda drill: drill.name)

BLOWS = ("kill", "stop", "nft", "fallocate", "date --set")


@DRILLS
def test_every_drill_can_be_dealt_and_taken_back(drill: Drill) -> None:
    scripts = write_scripts(drill.fault)
    for script in (scripts.inject, scripts.revert):
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    assert bool(scripts.revert) == (drill.fault.lasts_s is not None)


@DRILLS
def test_a_host_is_armed_to_take_back_what_lasts_before_it_is_done(drill: Drill) -> None:
    if drill.fault.lasts_s is None:
        assert "systemd-run" not in write_scripts(drill.fault).inject
        return
    lines = write_scripts(drill.fault).inject.splitlines()
    arm = next(number for number, line in enumerate(lines) if line.startswith("systemd-run"))
    assert f"--on-active={drill.fault.lasts_s + 30:g} " in lines[arm]
    assert not any(word in line for line in lines[:arm] for word in BLOWS)
    assert any(word in line for line in lines[arm + 1 :] for word in BLOWS)


def test_ssh_is_left_open_where_the_network_is_cut(tmp_path: Path) -> None:
    script = write_scripts(CATALOGUE["partition-scheduler"].fault, ssh_port=2222).inject
    for name, line in {
        "systemctl": "echo airfleet-scheduler.service",
        "systemd-run": ":",
        "nft": f'[ "$*" = "-f -" ] && cat > {tmp_path}/rules',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    subprocess.run(["sh", "-s"], input=f"PATH={tmp_path}:$PATH\n{script}", text=True, check=True)
    rules = (tmp_path / "rules").read_text()
    assert "tcp dport 2222 accept" in rules
    assert "tcp sport 2222 accept" in rules
    assert rules.count("policy drop") == 2
