"""The address that balancer hosts share: who may have it, who hears of it, and what a host needs for it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from airfleet.components.host_model import Link
from airfleet.components.hosts import host_parts, keepalived
from airfleet.components.model import reveal
from airfleet.runners.fleet.plan import diff, facts
from airfleet.runners.fleet.plan.diff import DesiredHost
from airfleet.runners.fleet.plan.facts import HostFacts
from airfleet.runners.fleet.survey import outside_health
from places import NINE, check_mistake, desired, parse, place, with_setting
from shells import MadeUpShell

TWO = with_setting(NINE, "roles: [web]", "roles: [web, balancer]")
SHARED = f"{TWO}balancer: {{address: 10.0.0.9}}\n"
PROBE = facts.parse_probe("")
ALL_LINKS = {"10.0.0.11": Link("eth0", 24), "10.0.0.9": Link("eth0", 32)}


def want(name: str, text: str = SHARED, links: dict[str, Link] | None = None) -> DesiredHost:
    where = place(parse(text), name)
    where = replace(where, machine=replace(where.machine, links=ALL_LINKS if links is None else links))
    return DesiredHost(where, host_parts.describe(where, ssh_ports=(22,)))


def read(host: DesiredHost, name: str) -> str:
    return reveal(next(file for file in host.files if file.path.name == name).content)


@pytest.mark.parametrize(
    ("text", "path", "what"),
    [
        (f"{NINE}balancer: {{address: 10.0.0.9}}\n", "balancer", "only web1 has the role balancer"),
        ("balancer: {address: 10.0.0.9}\n", "balancer", "no host has the role balancer"),
        (
            f"{TWO}balancer: {{address: ui.example}}\n",
            "balancer.address",
            "expected an IPv4 address, found 'ui.example'",
        ),
        (f"{TWO}balancer: {{address: 127.0.0.9}}\n", "balancer.address", "no host can share the address 127.0.0.9"),
        (f"{TWO}balancer: {{address: 10.0.0.41}}\n", "balancer.address", "the host data1 has the address 10.0.0.41"),
        (SHARED.replace("10.0.0.12", "web2.example"), "hosts.web2.address", "balancers that share an address know"),
    ],
)
def test_a_mistake_is_named(text: str, path: str, what: str) -> None:
    check_mistake(text, path, what)


def test_without_a_shared_address_nothing_is_there() -> None:
    assert "keepalived" not in desired("web1", TWO).packages
    assert not any(service.name == "keepalived" for service in desired("web1", TWO).services)
    assert "bind 10.0.0.11:8080" in read(desired("web1", TWO), "balancer.cfg")
    assert not any(service.name == "keepalived" for service in want("web3").services)


def test_a_balancer_hears_its_peers_alone_and_no_router_between() -> None:
    config = read(want("web1"), "keepalived.conf")
    assert "unicast_src_ip 10.0.0.11\n" in config
    assert "10.0.0.12 min_ttl 255\n" in config
    assert "10.0.0.9/32 dev eth0\n" in config
    rules = [line.strip() for line in read(want("web1"), "firewall.nft").splitlines() if "VRRP" in line]
    assert rules == ['ip saddr 10.0.0.12 ip protocol 112 accept comment "VRRP of the other balancers"']


def test_the_host_that_has_the_address_now_is_written_like_the_others() -> None:
    holder, other = want("web1"), want("web1", links={"10.0.0.11": Link("eth0", 24)})
    assert [(file.path, file.digest) for file in holder.files] == [(file.path, file.digest) for file in other.files]


def test_no_host_takes_the_address_back() -> None:
    first, second = (
        read(want(name, links={address: Link("eth0", 24)}), "keepalived.conf")
        for name, address in (("web1", "10.0.0.11"), ("web2", "10.0.0.12"))
    )
    priorities = [[line for line in text.splitlines() if "priority" in line] for text in (first, second)]
    assert priorities[0] == priorities[1]
    assert "state BACKUP" in first
    assert "state BACKUP" in second


def test_haproxy_listens_on_an_address_that_the_host_may_get_and_tells_its_state_to_the_host_alone() -> None:
    config = read(want("web1"), "balancer.cfg")
    assert "bind 0.0.0.0:8080\n" in config
    assert "bind 127.0.0.1:8407\n  monitor-uri /\n  monitor fail if { nbsrv(web) lt 1 }\n" in config
    assert "PORT=8407\n" in keepalived.render_program()


def test_people_are_led_to_the_shared_address() -> None:
    assert want("web1").place.public_url == "http://10.0.0.9:8080"
    assert "base_url = http://10.0.0.9:8080" in read(want("web1"), "airflow.cfg")


def test_the_address_moves_before_haproxy_stops() -> None:
    (service,) = (one for one in want("web1").services if one.name == "keepalived")
    assert service.after == ("airfleet-balancer.service",)


@pytest.mark.parametrize(
    ("links", "what"),
    [
        (ALL_LINKS, None),
        ({"192.168.7.7": Link("eth0", 24)}, "the host does not have the address 10.0.0.11 itself"),
        ({"10.0.0.11": Link("ens3", 32)}, "10.0.0.9 is not an address of the network 10.0.0.11/32 of ens3"),
    ],
)
def test_a_host_that_could_not_have_the_address_is_refused(links: dict[str, Link], what: str | None) -> None:
    found = [obstacle.what for obstacle in diff.find_obstacles(want("web1", links=links), PROBE, HostFacts())]
    assert [said[: len(what or "")] for said in found] == ([what] if what else [])


def test_the_links_of_a_host_are_read() -> None:
    probe = facts.parse_probe(
        "@@airfleet@@ links\nlo 127.0.0.1/8\neth0 10.0.0.11/24\neth0 10.0.0.9/32\ntun0 10.8.0.1\n"
    )
    assert probe.links == {"127.0.0.1": Link("lo", 8), **ALL_LINKS}


@pytest.mark.parametrize(
    ("there", "is_well", "detail"),
    [
        (("", "2: eth0 inet 10.0.0.9/32"), True, "at web2"),
        (("", ""), False, "no balancer has it"),
        (("2: eth0", "2: eth0"), False, "at web1 and web2 at once: they do not hear each other"),
        ((None, "2: eth0"), True, "at web2"),
        ((None, ""), False, "not seen; web1 did not answer"),
    ],
)
def test_status_says_who_has_the_address(there: tuple[str | None, str | None], is_well: bool, detail: str) -> None:
    def look(name: str, said: str | None) -> Any:  # noqa: ANN401
        shell = MadeUpShell(lambda _: said or "", away=said is None)
        return SimpleNamespace(desired=want(name), connection=shell)

    views = [look(name, said) for name, said in zip(("web1", "web2"), there, strict=True)]
    seen = outside_health._look_at_address("10.0.0.9", views)
    assert (seen.what, seen.is_well, seen.detail) == ("address 10.0.0.9", is_well, detail)
