"""The parts of every host: Python, folders, the firewall, and the clean-up of old files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from airfleet.components.host_model import ETC, LIB, LOG, RUN, Folder, HostFile, OpenPort, Part, Place, Service, Stage
from airfleet.components.hosts import entrances
from airfleet.components.hosts.entrances import Tunnel
from airfleet.spec.addresses import is_ipv6
from airfleet.template import render_template

FIREWALL = "firewall"


def describe(place: Place) -> Part:
    tmpfiles = HostFile(
        Path("/etc/tmpfiles.d/airfleet.conf"),
        render_template(__package__, "tmpfiles.conf", run=RUN, log=LOG, days=place.fleet.retention.logs),
    )
    system = place.machine.system
    return Part(
        name="common",
        packages=(system.python, "ca-certificates", *(("nftables",) if place.fleet.firewall else ())),
        folders=(Folder(LIB), Folder(LOG), Folder(RUN), Folder(LIB / "jobs", mode=0o700)),
        files=(tmpfiles,),
    )


def describe_firewall(place: Place, ports: Iterable[OpenPort], ssh_ports: Iterable[int]) -> Part:
    """Describe the firewall: an nftables table that accepts replies, and the ports of SSH and of the host's roles."""
    if not place.fleet.firewall:
        return Part(name=FIREWALL)
    every = (*entrances.open_ssh(place, ssh_ports), *ports)
    rules = HostFile(ETC / "firewall.nft", render_firewall(every, entrances.find_tunnel(place)))
    load = ("/usr/sbin/nft", "-f", str(rules.path))
    service = Service(
        name=FIREWALL,
        what="lets in SSH and what the roles of this host need",
        stage=Stage.BASE,
        command=load,
        user="root",
        files=(rules,),
        reload=(load,),
        undo=("/usr/sbin/nft", "delete", "table", "inet", "airfleet"),
        kind="oneshot",
        sandbox={"CapabilityBoundingSet": "CAP_NET_ADMIN", "RestrictAddressFamilies": "AF_UNIX AF_NETLINK"},
    )
    return Part(name=FIREWALL, services=(service,))


def render_firewall(ports: Iterable[OpenPort], tunnel: Tunnel | None = None) -> str:
    """Return the text for `nft -f`. It replaces the table in one transaction.

    Nothing passes through the host between a tunnel and other interfaces.
    """
    opened = sorted(set(ports), key=lambda port: (port.number, port.sources, port.interface, port.address, port.why))
    return render_template(
        __package__,
        "firewall.nft",
        tunnel=tunnel,
        ports=[
            {
                "number": port.number,
                "match": "ip protocol" if port.protocol == "ip" else f"{port.protocol} dport",
                "interface": port.interface,
                "address": port.address,
                "why": port.why,
                "from": sources,
            }
            for port in opened
            for sources in _match_sources(port.sources)
        ],
    )


def _match_sources(sources: Iterable[str]) -> list[str]:
    """Return what a rule for these sources says of them. Each family of addresses has a rule of its own."""
    listed = sorted(set(sources))
    by_family = {"ip": [one for one in listed if not is_ipv6(one)], "ip6": [one for one in listed if is_ipv6(one)]}
    return [f"{family} saddr {_set(own)} " for family, own in by_family.items() if own] or [""]


def _set(words: Iterable[str]) -> str:
    """Return the words as nftables writes a set; one word, or none, stays as it is."""
    listed = list(words)
    return f"{{ {', '.join(listed)} }}" if len(listed) > 1 else "".join(listed)
