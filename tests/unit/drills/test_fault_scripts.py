"""The scripts that deal faults, run on this machine with replaced programs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from airfleet.drills.catalogue import CATALOGUE, Drill
from airfleet.drills.fault_scripts import write_scripts
from airfleet.drills.operator_actions import COMMANDS
from deadline import PATIENCE_S

BLOWS = [drill for drill in CATALOGUE.values() if drill.fault.act not in COMMANDS]
DRILLS = pytest.mark.parametrize("drill", BLOWS, ids=lambda drill: drill.name)


@DRILLS
def test_every_drill_can_be_dealt_and_taken_back(drill: Drill) -> None:
    scripts = write_scripts(drill.fault)
    for script in (scripts.inject, scripts.revert):
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    assert bool(scripts.revert) == (drill.fault.lasts_s is not None)


def run(folder: Path, script: str, **programs: str) -> list[str]:
    """Run a script with programs that record their arguments; return the records in order."""
    log = folder / "log"
    log.write_text("")
    # Nothing of this machine may be killed, filled or set: no other program is there.
    for name in ("systemctl", "systemd-run", "nft", "fallocate", "dd", "date", "timedatectl", "df", "sleep", "nohup"):
        body = programs.get(name.replace("-", "_"), "")
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {log}\n{body}\n')
        (folder / name).chmod(0o755)
    for name in ("/run/", "/proc/", "/var/lib/"):
        script = script.replace(name, f"{folder}{name}")
        (folder / name.strip("/")).mkdir(parents=True, exist_ok=True)
    subprocess.run(["sh", "-s"], input=f"PATH={folder}:$PATH\n{script}", text=True, check=True, timeout=PATIENCE_S)
    return log.read_text().splitlines()


LIST = 'case "$1" in list-units) echo "airfleet-a.service loaded"; echo "airfleet-b.service loaded";; esac'
EFFECTS = ("systemctl kill", "systemctl stop airfleet", "nft", "dd", "date --set")
BACK = ("systemctl kill --signal=CONT", "systemctl start", "nft delete", "date --set", "rm")


@pytest.mark.parametrize("drill", [one for one in BLOWS if one.fault.lasts_s is not None], ids=lambda one: one.name)
def test_a_host_is_armed_to_take_back_what_lasts_before_it_is_done(drill: Drill, tmp_path: Path) -> None:
    told = run(tmp_path, write_scripts(drill.fault).inject, systemctl=LIST, nft="cat >/dev/null")
    arm = next(number for number, line in enumerate(told) if line.startswith("systemd-run"))
    assert f"--on-active={(drill.fault.lasts_s or 0) + 30:g} " in told[arm]
    assert told[arm].endswith(" airfleet-a.service airfleet-b.service")
    assert not any(line.startswith(EFFECTS) for line in told[:arm])
    assert any(line.startswith(EFFECTS) for line in told[arm + 1 :])


@pytest.mark.parametrize("drill", [one for one in BLOWS if one.fault.lasts_s is not None], ids=lambda one: one.name)
def test_the_timer_and_the_drill_take_back_the_same(drill: Drill, tmp_path: Path) -> None:
    scripts = write_scripts(drill.fault)
    run(tmp_path, scripts.inject, systemctl=LIST, nft="cat >/dev/null")
    armed = (tmp_path / "run" / "airfleet-drill-back").read_text()
    assert str(tmp_path) in armed or "/run/" not in armed
    by_timer = run(tmp_path, f"set -- airfleet-a.service airfleet-b.service\n{armed.replace(str(tmp_path), '')}")
    (tmp_path / "run" / "airfleet-drill-clock").touch()
    by_drill = run(tmp_path, scripts.revert, systemctl=LIST)
    assert by_drill[0].startswith("systemctl list-units ")
    assert by_drill[1:] == [*by_timer, "systemctl stop airfleet-drill-back.timer"]


def test_a_service_that_does_not_start_at_once_is_started_again(tmp_path: Path) -> None:
    script = write_scripts(CATALOGUE["database-outage"].fault).revert
    fails = f'case "$1" in start) [ "$(grep -c "systemctl start" {tmp_path}/log)" -gt 2 ];; *) {LIST};; esac'
    told = run(tmp_path, script, systemctl=fails)
    assert [line for line in told if line.startswith(("systemctl start", "sleep"))] == [
        "systemctl start airfleet-a.service airfleet-b.service",
        "sleep 5",
        "systemctl start airfleet-a.service airfleet-b.service",
        "sleep 10",
        "systemctl start airfleet-a.service airfleet-b.service",
    ]


def test_no_service_of_the_fault_s_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as error:
        run(tmp_path, write_scripts(CATALOGUE["kill-scheduler"].fault).inject)
    assert error.value.returncode == 3


def test_ssh_is_left_open_where_the_network_is_cut(tmp_path: Path) -> None:
    script = write_scripts(CATALOGUE["partition-scheduler"].fault, ssh_port=2222).inject
    run(tmp_path, script, systemctl=LIST, nft=f'[ "$*" = "-f -" ] && cat > {tmp_path}/rules')
    rules = (tmp_path / "rules").read_text()
    assert "tcp dport 2222 accept" in rules
    assert "tcp sport 2222 accept" in rules
    assert rules.count("policy drop") == 2
