"""Names and addresses of a bed of test machines."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

from machines import layout
from machines.layout import Layout

BED = Layout("dev", 7, ("db1", "web1"), Path("/beds/dev"))
LINK_NAME_MAX = 15


def test_every_address_and_link_is_its_own() -> None:
    widest = Layout("sixsix", 254, tuple(f"h{n}" for n in range(1, 100)), Path("/beds/sixsix"))
    seats = widest.seats
    for of in (
        lambda one: one.address,
        lambda one: one.link,
        lambda one: one.namespace,
        lambda one: one.hardware_address,
    ):
        assert len({of(seat) for seat in seats}) == len(seats)
    assert max(len(seat.link) for seat in seats) <= LINK_NAME_MAX
    assert widest.gateway not in {seat.address for seat in seats}


def test_a_bed_gets_a_subnet_that_nobody_uses() -> None:
    assert layout.choose_net([], "default via 192.0.2.1 dev eth0") == 1
    assert layout.choose_net([1, 2], "10.213.3.0/24 dev vpn\n10.213.44.0/24 dev x") == 4


def test_a_machine_finds_itself_and_the_others_by_both_names() -> None:
    lines = layout.render_hosts(BED, BED.seats[1]).splitlines()
    assert "10.213.7.11 db1.dev.test db1" in lines
    assert "10.213.7.12 web1.dev.test web1" in lines
    assert not any("127." in line and "web1" in line for line in lines)


def test_ssh_takes_nothing_from_the_user_and_trusts_only_the_beds_keys() -> None:
    config = layout.render_ssh_config(BED)
    assert "Host web1 web1.dev.test 10.213.7.12\n    HostName 10.213.7.12" in config
    for wanted in ("IdentitiesOnly yes", "StrictHostKeyChecking yes", "UserKnownHostsFile /beds/dev/known_hosts"):
        assert wanted in config
    assert layout.render_known_hosts(BED, {"db1": "ssh-ed25519 A", "web1": "ssh-ed25519 B"}).splitlines()[1] == (
        "web1,web1.dev.test,10.213.7.12 ssh-ed25519 B"
    )


def test_the_boot_script_is_shell_and_enters_every_group_before_it_boots() -> None:
    script = layout.render_boot(BED, BED.seats[0], [Path("/cg/unified/a b"), Path("/cg/memory/x")])
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    entered = script.index("/cg/memory/x/cgroup.procs")
    assert script.index("/cg/unified/a b/cgroup.procs") < entered < script.index("systemd-nspawn")


def test_machines_with_ipv6_are_reached_there_and_leave_by_ipv4() -> None:
    six = replace(BED, has_ipv6=True)
    seats = six.seats
    assert [one.address for one in seats] == ["fd0a:f213:7::b", "fd0a:f213:7::c"]
    assert six.gateway_ipv6 not in {one.address for one in seats}
    script = layout.render_boot(six, seats[0], [])
    assert "address add 10.213.7.11/24 dev eth0\n" in script
    assert "address add fd0a:f213:7::b/64 dev eth0 nodad\n" in script
    assert "fd0a:f213:7::c web1.dev.test web1" in layout.render_hosts(six, seats[0])
