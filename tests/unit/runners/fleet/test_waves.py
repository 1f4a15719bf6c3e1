"""The order in which restarts disturb hosts."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from airfleet.components.host_model import Stage
from airfleet.components.hosts import haproxy
from airfleet.runners.fleet.apply.rolling_restart import haproxy_aside, haproxy_back, is_back
from airfleet.runners.fleet.plan.diff import DesiredHost, decide
from airfleet.runners.fleet.plan.facts import HostFacts
from airfleet.runners.fleet.plan.steps import Bring, Step
from airfleet.runners.fleet.plan.waves import add_restarts, make_waves
from airfleet.spec.topology import Promoted
from deadline import PATIENCE_S
from places import NINE, desired

TWO_OF_A_POOL = NINE.replace("io1: {address: 10.0.0.33, pools: [io]}", "io1: {address: 10.0.0.33, pools: [io, cpu]}")


@dataclass(frozen=True)
class Fake:
    desired: DesiredHost


def work(stage: Stage, *names: str, text: str = NINE, restart: bool = True) -> list[tuple[Fake, list[Step]]]:
    found = []
    for name in names:
        want = desired(name, text)
        own = add_restarts(want, ()) if restart else decide(want, HostFacts())
        found.append((Fake(want), [step for step in own if step.stage == stage]))
    return found


def waves(stage: Stage, *names: str, text: str = NINE, restart: bool = True, active: str = "") -> list[list[str]]:
    made = make_waves(stage, work(stage, *names, text=text, restart=restart), active)
    return [[item[0].desired.place.host.name for item in wave] for wave in made]


def test_web_hosts_restart_one_after_another() -> None:
    assert waves(Stage.API, "web1", "web2", "web3") == [["web1"], ["web2"], ["web3"]]


@pytest.mark.parametrize(
    ("is_led", "order"),
    [(True, [["data1"], ["web3"]]), (False, [["web3"], ["data1"]])],
    ids=["replicas first", "taken over"],
)
def test_database_hosts_restart_one_after_another_and_the_primary_last_once_patroni_leads_them(
    is_led: bool, order: list[list[str]]
) -> None:
    two = NINE.replace("roles: [web, monitor]", "roles: [web, monitor, database]")
    items = []
    for name in ("web3", "data1"):
        want = desired(name, two)
        fleet = replace(want.place.fleet, promoted=Promoted("web3", is_led=is_led))
        view = Fake(replace(want, place=replace(want.place, fleet=fleet)))
        own = [step for step in decide(want, HostFacts()) if step.stage == Stage.STORES]
        items.append((view, own))
    again = [
        (
            view,
            [replace(one, action=replace(one.action, how="restart")) for one in own if isinstance(one.action, Bring)],
        )
        for view, own in items
    ]
    made = make_waves(Stage.STORES, again)
    assert [[item[0].desired.place.host.name for item in wave] for wave in made] == order
    assert make_waves(Stage.STORES, again, together=True) == [again]
    assert make_waves(Stage.STORES, items) == [items]
    grown = [
        [item[0].desired.place.host.name for item in wave] for wave in make_waves(Stage.STORES, [again[0], items[1]])
    ]
    if not is_led:
        assert grown == [["web3"], ["data1"]], "a new host may have old data, which must not come before the primary's"


def test_the_active_scheduler_comes_last() -> None:
    assert waves(Stage.CONTROL, "sched1", "sched2", active="sched1") == [["sched2"], ["sched1"]]


def test_workers_restart_at_once_unless_they_serve_the_same_pool() -> None:
    assert waves(Stage.WORK, "cpu1", "memory1", "io1") == [["cpu1", "memory1", "io1"]]
    assert waves(Stage.WORK, "cpu1", "memory1", "io1", text=TWO_OF_A_POOL) == [["cpu1", "memory1"], ["io1"]]


def test_what_starts_for_the_first_time_disturbs_nobody() -> None:
    assert waves(Stage.API, "web1", "web2", restart=False) == [["web1", "web2"]]
    assert waves(Stage.WORK, "cpu1", "io1", text=TWO_OF_A_POOL, restart=False) == [["cpu1", "io1"]]


def test_a_restart_of_everything_is_of_airflow_s_own_processes_and_of_each_once() -> None:
    want = desired("cpu1")
    planned = tuple(step for step in decide(want, HostFacts()) if isinstance(step.action, Bring))
    assert add_restarts(want, planned) == planned
    added = [step.action.service.name for step in add_restarts(want, ()) if isinstance(step.action, Bring)]
    assert sorted(added) == ["worker-cpu", "worker-default", "worker-logs"]


def run_at_the_balancer(folder: Path, script: str) -> list[str]:
    """Return the steps on the host of a balancer, one a line."""
    (folder / "sockets").mkdir(exist_ok=True)
    (folder / "sockets" / "one.sock").touch()
    for name, lines in {
        "systemctl": f'echo "systemctl $*" >> {folder}/done',
        "systemd-run": f'echo "$*" >> {folder}/done',
        "python-there": (
            f'echo "$3" >> {folder}/done\n[ "$4" = {folder}/sockets/one.sock ] && echo web,web2,0,0,0,,,,,,,,,,,,,UP'
        ),
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{lines}\n")
        (folder / name).chmod(0o755)
    text = script.replace("/run/airfleet", str(folder)).replace(str(haproxy.SOCKETS), f"{folder}/sockets")
    subprocess.run(["sh", "-c", f"PATH={folder}:$PATH\n{text}"], check=True, timeout=PATIENCE_S)
    return (folder / "done").read_text().splitlines()


def test_a_host_led_past_is_led_to_again_by_the_balancer_itself_should_nobody_do_it(tmp_path: Path) -> None:
    stop, arm, drain, stat = run_at_the_balancer(tmp_path, haproxy_aside("web2", "python-there"))
    assert (stop, stat) == ("systemctl stop airfleet-aside-web2.timer", "show stat")
    assert arm == f"--quiet --collect --unit=airfleet-aside-web2 --on-active=300 sh {tmp_path}/airfleet-aside-web2"
    assert drain == "set server web/web2 state drain; set server execution/web2 state drain"
    (tmp_path / "done").unlink()
    ready = "set server web/web2 state ready; set server execution/web2 state ready"
    assert run_at_the_balancer(tmp_path, (tmp_path / "airfleet-aside-web2").read_text()) == [ready]
    (tmp_path / "done").unlink()
    assert run_at_the_balancer(tmp_path, haproxy_back("web2", "python-there")) == [ready, stop, "show stat"]


def test_a_worker_is_back_when_it_is_another_process_that_has_taken_up_its_work() -> None:
    before = "a1 active said\nb1 active said\n"
    assert not is_back(before, before), "systemd has not begun"
    assert not is_back(before, "a1 deactivating said\nb2 active said\n")
    assert not is_back(before, "a2 active\nb2 active said\n")
    assert is_back(before, "a2 active said\nb2 active said\n")
    assert is_back("", "")
