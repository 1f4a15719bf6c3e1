"""The ways into a fleet for people: who reaches SSH and UI, the tunnel of administrators, and mistakes in the file."""

from __future__ import annotations

import pytest

from airfleet.components.hosts import vpn
from airfleet.components.model import reveal
from airfleet.runners.fleet.plan import facts, ways_in
from airfleet.runners.fleet.plan.diff import DesiredHost, decide
from airfleet.runners.fleet.plan.facts import FileFact, HostFacts, UnitFact
from airfleet.runners.fleet.plan.steps import Bring, WriteFile
from places import NINE, check_mistake, desired, parse, place
from ways_in import ANN, BOB, VPN, WITH_VPN

WITHOUT_BOB = WITH_VPN.replace(f"    bob: {{public_key: {BOB}, address: 10.99.0.3}}\n", "")
PROBE = facts.parse_probe("")


def read(host: DesiredHost, name: str) -> str:
    return reveal(next(file for file in host.files if file.path.name == name).content)


def list_rules(name: str, port: int, text: str) -> list[str]:
    """Return what stands before the port in the rules of a host that open it."""
    rules = read(desired(name, text), "firewall.nft").splitlines()
    return [line.strip().split(f" dport {port} ")[0] for line in rules if f" dport {port} accept" in line]


def test_by_default_everybody_reaches_ssh_and_the_ui_and_no_tunnel_is_there() -> None:
    assert list_rules("web1", 22, NINE) == ["tcp"]
    assert list_rules("web1", 8080, NINE) == ["tcp"]
    assert "wireguard-tools" not in desired("web1").packages
    assert "airfleet-vpn" not in read(desired("web1"), "firewall.nft")


def test_only_who_is_named_the_fleet_and_the_tunnel_reach_ssh_and_the_ui() -> None:
    hosts = ["10.0.0.12", "10.0.0.13", "10.0.0.21", "10.0.0.22", "10.0.0.31", "10.0.0.32", "10.0.0.33", "10.0.0.41"]
    tunnel = 'iifname "airfleet-vpn" tcp'
    assert sorted(list_rules("web1", 22, WITH_VPN)) == [tunnel, "ip saddr 10.0.0.5 tcp"]
    fleet = f"ip saddr {{ {', '.join(hosts)} }} tcp"
    assert sorted(list_rules("web1", 8080, WITH_VPN)) == sorted([tunnel, "ip saddr 10.0.0.5 tcp", fleet])
    # To another host, an administrator comes by the host where the tunnel ends.
    assert sorted(list_rules("cpu1", 22, WITH_VPN)) == ["ip saddr 10.0.0.11 tcp", "ip saddr 10.0.0.5 tcp"]
    # Without the balancer, the UI is at the web host.
    alone = "hosts: {web1: {address: 10.0.0.11, roles: [web, scheduler, worker, database, broker]}}\n"
    assert list_rules("web1", 8080, f"{alone}allow_from: [10.0.9.0/24]\n") == ["ip saddr 10.0.9.0/24 tcp"]


def test_networks_that_overlap_are_one_as_nftables_wants_them() -> None:
    text = f"{NINE}allow_from: [10.0.9.7, 10.0.9.0/24, 10.0.8.1]\n"
    assert list_rules("cpu1", 22, text) == ["ip saddr { 10.0.8.1, 10.0.9.0/24 } tcp"]


def test_nobody_is_allowed_but_the_tunnel() -> None:
    text = WITH_VPN.replace("[10.0.0.5]", "[]")
    assert list_rules("web1", 22, text) == ['iifname "airfleet-vpn" tcp']
    assert list_rules("cpu1", 22, text) == ["ip saddr 10.0.0.11 tcp"]
    assert list_rules("cpu1", 22, f"{NINE}allow_from: []\n") == []


def test_the_tunnel_is_on_its_host_alone_and_nothing_passes_through() -> None:
    rules = read(desired("web1", WITH_VPN), "firewall.nft")
    assert 'udp dport 51820 accept comment "WireGuard of administrators"' in rules
    assert 'iifname "airfleet-vpn" drop' in rules
    assert 'oifname "airfleet-vpn" drop' in rules
    assert 'iifname "airfleet-vpn" ip daddr 10.0.0.11 tcp dport 8080 redirect' in rules
    assert "bind 0.0.0.0:8080" in read(desired("web1", WITH_VPN), "balancer.cfg")
    other = desired("web2", WITH_VPN)
    assert "airfleet-vpn" not in read(other, "firewall.nft")
    assert not any(service.name == "vpn" for service in other.services)


def test_a_host_gets_public_keys_only_and_keeps_its_own_where_no_apply_removes_it() -> None:
    host = desired("web1", WITH_VPN)
    assert read(host, "peers.conf").split("[Peer]")[1:] == [
        f"\nPublicKey = {ANN}\nAllowedIPs = 10.99.0.2/32\n\n# bob\n",
        f"\nPublicKey = {BOB}\nAllowedIPs = 10.99.0.3/32\n",
    ]
    assert str(vpn.KEY).startswith("/var/lib/airfleet/vpn/")
    (folder,) = (one for one in host.folders if one.path == vpn.KEY.parent)
    assert (folder.owner, folder.mode) == ("root", 0o700)


def test_a_removed_administrator_is_a_step_of_the_plan_that_ends_no_session_of_others() -> None:
    before, after = desired("web1", WITH_VPN), desired("web1", WITHOUT_BOB)
    there = {
        str(file.path): FileFact(file.digest, file.owner, file.group, file.mode, reveal(file.content))
        for file in before.files
    }
    notes = {one.unit: reveal(file.content) for one in before.services for file in before.files if file.path.name == one.unit and file.path.parent.name == "units"}  # fmt: skip  # noqa: E501
    known = HostFacts(
        files=there,
        folders={str(one.path): FileFact("-", one.owner, one.group, one.mode) for one in before.folders},
        units={unit: UnitFact("active", "enabled", note) for unit, note in notes.items()},
        jobs={job.name: job.fingerprint for part in before.parts for job in part.jobs},
        users=frozenset(before.users),
        masked=frozenset(before.masks),
        managed=frozenset(there),
        runtimes=(before.place.runtime.name,),
        packages=frozenset(before.packages),
    )
    assert not decide(before, known)
    steps = decide(after, known)
    written = [step for step in steps if isinstance(step.action, WriteFile)]
    assert [step.what for step in written] == ["write /etc/airfleet/vpn/peers.conf", "write /etc/airfleet/units/airfleet-vpn.service"]  # fmt: skip  # noqa: E501
    assert f"-PublicKey = {BOB}" in written[0].diff
    assert [(one.action.service.name, one.action.how) for one in steps if isinstance(one.action, Bring)] == [("vpn", "reload")]  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(
    ("host", "client", "text", "is_refused"),
    [
        ("cpu1", "10.0.0.5", WITH_VPN, False),
        ("cpu1", "10.0.0.11", WITH_VPN, False),
        ("cpu1", "10.99.0.2", WITH_VPN, True),
        ("web1", "10.99.0.2", WITH_VPN, False),
        ("web1", "203.0.113.7", WITH_VPN, True),
        ("web1", "fd00::7", WITH_VPN, True),
        ("web1", "203.0.113.7", NINE, False),
        ("web1", "10.0.0.11", WITH_VPN, False),
        ("cpu1", "10.0.9.77", f"{NINE}allow_from: [10.0.9.0/24]\n", False),
        ("cpu1", "", WITH_VPN, False),
    ],
)
def test_an_apply_that_would_shut_this_machine_out_is_refused(
    host: str, client: str, text: str, is_refused: bool
) -> None:
    where = place(parse(text), host)
    found = [one for one in ways_in.find_obstacles(where, PROBE, client) if "allow_from" in one.what]
    assert [one.host for one in found] == ([host] if is_refused else [])
    assert all(client in one.hint for one in found)


@pytest.mark.parametrize(
    ("client", "text", "tunnel", "is_refused"),
    [
        ("10.99.0.2", WITH_VPN, "10.99.0.1/24", False),
        ("10.99.0.3", WITHOUT_BOB, "10.99.0.1/24", True),  # bob removes himself
        ("10.99.0.3", WITHOUT_BOB.replace("allow_from: [10.0.0.5]\n", ""), "10.99.0.1/24", True),
        ("10.99.0.3", NINE, "10.99.0.1/24", True),  # and the whole tunnel
        ("10.99.0.3", WITH_VPN.replace("host: web1", "host: cpu1"), "10.99.0.1/24", True),
        ("10.99.0.3", f"{WITH_VPN}  network: 10.99.0.0/25\n", "10.99.0.1/24", False),
        # An office whose network is that of the new tunnel: answers would go into the tunnel.
        ("10.99.0.50", WITH_VPN.replace("[10.0.0.5]", "[10.99.0.0/24]"), "", True),
        ("10.99.0.1", NINE, "10.99.0.1/24", True),
        ("203.0.113.7", NINE, "10.99.0.1/24", False),
        ("fd00::7", NINE, "10.99.0.1/24", False),
        ("10.99.0.3", NINE, "", False),
    ],
)
def test_an_apply_from_the_tunnel_keeps_the_administrator_who_runs_it(
    client: str, text: str, tunnel: str, is_refused: bool
) -> None:
    where = place(parse(text.replace("host: cpu1", "host: web1")), "web2" if "host: cpu1" in text else "web1")
    probe = facts.parse_probe(f"@@airfleet@@ tunnel\n{tunnel}\n@@airfleet@@ wireguard\nyes\n")
    found = list(ways_in.find_obstacles(where, probe, client))
    assert [client in one.what for one in found] == ([True] if is_refused else [])


def test_the_tunnel_opens_the_ui_at_no_further_address_of_its_host() -> None:
    open_ = WITH_VPN.replace("allow_from: [10.0.0.5]\n", "")
    assert sorted(list_rules("web1", 8080, open_)) == ['iifname "airfleet-vpn" tcp', "ip daddr 10.0.0.11 tcp"]
    # With a shared address, browsers reach the host at two.
    shared = open_.replace("{address: 10.0.0.12, roles: [web]}", "{address: 10.0.0.12, roles: [web, balancer]}")
    assert list_rules("web1", 8080, f"{shared}balancer: {{address: 10.0.0.99}}\n") == ["tcp"]


@pytest.mark.parametrize(("said", "hosts"), [("", ["web1"]), ("@@airfleet@@ wireguard\nyes\n", [])])
def test_a_kernel_without_wireguard_is_told_before_anything_changes(said: str, hosts: list[str]) -> None:
    probe = facts.parse_probe(said)
    found = [
        one for name in ("web1", "cpu1") for one in ways_in.find_obstacles(place(parse(WITH_VPN), name), probe, "")
    ]
    assert [one.host for one in found] == hosts


@pytest.mark.parametrize(
    ("text", "path", "what"),
    [
        (f"{NINE}{VPN}".replace("host: web1", "host: web9"), "vpn.host", "there is no host 'web9'"),
        (f"{NINE}{VPN}".replace("host: web1", "host: web2"), "vpn.host", "web2 has not the role balancer"),
        (VPN, "vpn", "it is for a fleet"),
        ("allow_from: [10.0.0.5]\n", "allow_from", "it is for a fleet"),
        (f"{NINE}{VPN}firewall: false\n", "vpn", "airfleet's firewall does it"),
        (f"{NINE}allow_from: []\nfirewall: false\n", "allow_from", "airfleet's firewall does it"),
        (f"{NINE}allow_from: [all]\n", "allow_from[0]", "expected an IP address or the address of a network"),
        (f"{NINE}allow_from: [0.0.0.0/0]\n", "allow_from[0]", "0.0.0.0/0 lets in too many machines"),
        (f"{NINE}allow_from: ['fe80::1%eth0']\n", "allow_from[0]", "expected an IP address or the address of"),
        (f'{NINE}allow_from: ["fd00::%x accept\\n/64"]\n', "allow_from[0]", "expected an IP address or the address of"),
        (f"{NINE}{VPN}".replace("vpn.example.com", "10.0.0.12"), "vpn.endpoint", "10.0.0.12 is the `address` of web2"),
        (f"{NINE}{VPN}  network: 10.0.0.0/24\n", "vpn.network", "web1 has an address of the network 10.0.0.0/24"),
        (f"{NINE}{VPN}  network: 8.8.8.0/24\n", "vpn.network", "8.8.8.0/24 is no network for a tunnel"),
        (f"{NINE}{VPN}  network: 10.99.0.0/31\n", "vpn.network", "10.99.0.0/31 is no network for a tunnel"),
        (WITH_VPN.replace("10.99.0.3", "10.99.0.1"), "vpn.administrators.bob.address", "10.99.0.1 is no free address"),
        (WITH_VPN.replace("10.99.0.3", "10.98.0.3"), "vpn.administrators.bob.address", "10.98.0.3 is no free address"),
        (WITH_VPN.replace("10.99.0.3", "10.99.0.2"), "vpn.administrators.bob.address", "ann has the same address"),
        (WITH_VPN.replace(BOB, ANN), "vpn.administrators.bob.public_key", "ann has the same public key"),
        (WITH_VPN.replace(BOB, BOB[:-2]), "vpn.administrators.bob.public_key", "not a public key of WireGuard"),
    ],
)
def test_a_mistake_is_named(text: str, path: str, what: str) -> None:
    check_mistake(text, path, what)


def test_one_host_with_every_role_ends_the_tunnel() -> None:
    text = f"hosts: {{web1: {{address: 10.0.0.11}}}}\n{VPN}"
    assert any(service.name == "vpn" for service in desired("web1", text).services)
