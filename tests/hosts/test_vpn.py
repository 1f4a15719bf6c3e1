"""A fleet whose SSH and UI answer an administrator in the tunnel, and this machine, and nobody else.

The kernel of these machines may have no WireGuard, so wireguard-go makes the interfaces before airfleet comes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from airfleet.operations import vpn
from deadline import wait_until
from four import PACKAGES, Four
from machines import Bed, why_not
from machines.image import Recipe, ensure_image

pytestmark = [pytest.mark.hosts, pytest.mark.drill]

ROLES = {
    "app1": "roles: [web, balancer, broker, scheduler, database]",
    "work1": "roles: [worker], pools: [default]",
}
LAPTOP = "laptop"
WIREGUARD = ("wireguard-go", "wireguard-tools")
INSTALL = f"sudo apt-get install -qq -y --no-install-recommends {' '.join(WIREGUARD)}"
# What the kernel does elsewhere.
STAND_IN = """\
[Service]
ExecStart=/usr/bin/wireguard-go --foreground airfleet-vpn
Restart=always
[Install]
WantedBy=multi-user.target
"""
REACH = "python3 -c 'import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), {limit})' {to}"
FETCH = "python3 -c 'import urllib.request as r; print(r.urlopen(\"{url}\", timeout=30).read().decode())'"
SSH = "ssh -i key -o StrictHostKeyChecking=accept-new -o ConnectTimeout=10 -o ProxyCommand='{way}' ops@{to} hostname"


@dataclass(frozen=True)
class PrivateFleet:
    """A fleet with a tunnel, and the laptop of ann, which is in the network and no host."""

    four: Four
    key: str

    @property
    def endpoint(self) -> str:
        """The other address of app1, which stands for its public one."""
        return self.four.bed.layout.subnet.replace(".0/24", ".200")

    def write(self, *, allow_from: str, ann: bool = True) -> None:
        person = f"  administrators: {{ann: {{public_key: {self.key}, address: 10.99.0.2}}}}\n" if ann else ""
        self.four.write(f"allow_from: {allow_from}\nvpn:\n  host: app1\n  endpoint: {self.endpoint}\n{person}")

    def laptop(self, command: str) -> str | None:
        """Return what a command says on the laptop, or None if it fails. This machine does not come by SSH."""
        done = self.four.bed[LAPTOP].run(command, check=False)
        return done.stdout if done.returncode == 0 else None

    def enter(self) -> None:
        """Bring the laptop into the tunnel by what airfleet prints for ann, if it is not in there."""
        if self.laptop("ip link show dev airfleet") is None:
            profile = self.four.do("vpn", "config", "ann")
            key = self.four.bed[LAPTOP].run("cat airfleet.key").stdout.strip()
            text = profile.replace(vpn.YOURS, key)
            self.four.bed[LAPTOP].run("sudo install -m 0600 /dev/stdin /etc/wireguard/airfleet.conf", text=text)
            self.four.bed[LAPTOP].run("sudo wg-quick up airfleet")
        wait_until(lambda: self.reaches("10.99.0.1", 22, 10), "the laptop in the tunnel", every_s=1)

    def reaches(self, address: str, port: int, limit: int = 3) -> bool:
        return self.laptop(REACH.format(limit=limit, to=f"{address} {port}")) is not None


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateFleet]:
    if reason := why_not():
        pytest.skip(f"no machines can run here: {reason}")
    image = ensure_image(Recipe(fetched=tuple(sorted((*PACKAGES, *WIREGUARD)))))
    with Bed.create([*ROLES, LAPTOP], image=image) as bed:
        bed.wait_ready()
        bed[LAPTOP].run(INSTALL)
        bed[LAPTOP].run("umask 077; cat > key", text=bed.layout.key.read_text())
        bed[LAPTOP].run("umask 077; wg genkey > airfleet.key")
        made = PrivateFleet(Four(tmp_path_factory.mktemp("vpn"), bed, ROLES), bed[LAPTOP].run("wg pubkey < airfleet.key").stdout.strip())  # fmt: skip  # noqa: E501
        made.write(allow_from=f"[{bed.layout.gateway}]")
        refused = made.four.run("plan")
        assert "its kernel has no WireGuard" in refused.stderr + refused.stdout
        bed["app1"].run(INSTALL)
        bed["app1"].run("sudo tee /etc/systemd/system/stand-in.service", text=STAND_IN)
        bed["app1"].run(f"sudo systemctl enable --now stand-in; sudo ip address add {made.endpoint}/24 dev eth0")
        wait_until(
            lambda: bed["app1"].run("ip link show dev airfleet-vpn", check=False).returncode == 0,
            "the interface",
            every_s=1,
            seen=lambda: bed["app1"].run("systemctl status stand-in; ls -l /dev/net", check=False).stdout,
        )
        assert made.reaches(bed["work1"].address, 22), "before the first apply"
        made.four.do("apply")
        yield made


def test_an_administrator_enters_by_what_airfleet_prints_and_nobody_else_does(fleet: PrivateFleet) -> None:
    app1, work1 = (fleet.four.bed[name].address for name in ROLES)
    for address, port in ((app1, 22), (app1, 8080), (fleet.endpoint, 22), (work1, 22)):
        assert not fleet.reaches(address, port), (address, port)
    assert json.loads(fleet.four.run("plan", "--json").stdout)["changes"] == []

    fleet.enter()
    said = fleet.laptop(FETCH.format(url=f"http://{app1}:8080/api/v2/monitor/health"))
    assert json.loads(said or "{}")["metadatabase"]["status"] == "healthy"
    assert (
        fleet.laptop("ssh -i key -o StrictHostKeyChecking=accept-new ops@10.99.0.1 hostname") or ""
    ).strip() == "app1"
    way = "ssh -i key -o StrictHostKeyChecking=accept-new -W %h:%p ops@10.99.0.1"
    assert (fleet.laptop(SSH.format(way=way, to=work1)) or "").strip() == "work1"
    assert not fleet.reaches(fleet.endpoint, 8080), "outside it stays closed"
    (peer,) = json.loads(fleet.four.do("vpn", "list", "--json"))["peers"]
    assert (peer["name"], peer["connected"]) == ("ann", True)


def test_doctor_knows_the_tunnel_and_its_unit_is_not_exposed(fleet: PrivateFleet) -> None:
    found = {one["subject"]: one for one in json.loads(fleet.four.run("doctor", "--json").stdout)}
    assert found["app1: vpn"]["level"] == "ok"
    said = json.loads(fleet.four.run("doctor", "--hardening", "--json").stdout)
    assert "ok" in [one["level"] for one in said if one["subject"] == "entrances"]
    exposed = [one["what"] for one in said if one["subject"] == "app1: units"]
    assert exposed == ["nothing found"]


def test_an_apply_that_would_shut_this_machine_out_changes_nothing(fleet: PrivateFleet) -> None:
    fleet.write(allow_from="[]")
    done = fleet.four.run("apply")
    assert done.returncode
    assert "which `allow_from` keeps out" in done.stderr + done.stdout
    assert fleet.four.bed["work1"].run("true").returncode == 0
    fleet.write(allow_from=f"[{fleet.four.bed.layout.gateway}]")
    assert json.loads(fleet.four.run("plan", "--json").stdout)["changes"] == []


def test_the_tunnel_comes_back_when_its_service_starts_again(fleet: PrivateFleet) -> None:
    fleet.enter()
    app1 = fleet.four.bed["app1"]
    app1.run("sudo systemctl stop airfleet-vpn")
    # Its end removes the interface, which only the stand-in can make again on a kernel without WireGuard.
    wait_until(
        lambda: app1.run("ip link show dev airfleet-vpn", check=False).returncode == 0, "the interface", every_s=1
    )
    app1.run("sudo systemctl start airfleet-vpn")
    wait_until(lambda: fleet.reaches("10.99.0.1", 22, 10), "the laptop in the tunnel", every_s=1)


def test_a_removed_administrator_is_out_and_without_vpn_all_is_as_before(fleet: PrivateFleet) -> None:
    fleet.enter()
    fleet.write(allow_from=f"[{fleet.four.bed.layout.gateway}]", ann=False)
    assert f"-PublicKey = {fleet.key}" in fleet.four.do("plan", "--diff")
    fleet.four.do("apply")
    assert not fleet.reaches("10.99.0.1", 22)
    assert not fleet.reaches(fleet.four.bed["app1"].address, 8080)

    fleet.four.write()
    fleet.four.do("apply")
    fleet.laptop("sudo wg-quick down airfleet")
    assert fleet.reaches(fleet.four.bed["app1"].address, 8080, 30)
    assert "airfleet-vpn.service" not in fleet.four.bed["app1"].run("systemctl list-unit-files 'airfleet-*'").stdout
