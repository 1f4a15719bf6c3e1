"""The scripts that deal blows, before any host sees them."""

from __future__ import annotations

import subprocess

import pytest

from airfleet.drills.catalogue import CATALOGUE, Drill
from airfleet.drills.operations import COMMANDS
from airfleet.drills.scripts import write_scripts

BLOWS = [drill for drill in CATALOGUE.values() if drill.blow.act not in COMMANDS]
DRILLS = pytest.mark.parametrize("drill", BLOWS, ids=lambda drill: drill.name)

BLOWS = ("kill", "stop", "nft", "fallocate", "date --set")


@DRILLS
def test_every_drill_can_be_dealt_and_taken_back(drill: Drill) -> None:
    scripts = write_scripts(drill.blow)
    for script in (scripts.strike, scripts.give_back):
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    assert bool(scripts.give_back) == (drill.blow.lasts_s is not None)


@DRILLS
def test_a_host_is_armed_to_take_back_what_lasts_before_it_is_done(drill: Drill) -> None:
    if drill.blow.lasts_s is None:
        assert "systemd-run" not in write_scripts(drill.blow).strike
        return
    lines = write_scripts(drill.blow).strike.splitlines()
    arm = next(number for number, line in enumerate(lines) if line.startswith("systemd-run"))
    assert f"--on-active={drill.blow.lasts_s + 30:g} " in lines[arm]
    assert not any(word in line for line in lines[:arm] for word in BLOWS)
    assert any(word in line for line in lines[arm + 1 :] for word in BLOWS)


def test_ssh_is_left_open_where_the_network_is_cut() -> None:
    script = write_scripts(CATALOGUE["partition-scheduler"].blow, ssh_port=2222).strike
    assert "tcp dport 2222 accept" in script
    assert "tcp sport 2222 accept" in script
