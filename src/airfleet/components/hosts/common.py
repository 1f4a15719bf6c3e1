"""The parts of every host: Python, folders, the firewall, and the clean-up of old files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from airfleet.components.host_model import ETC, LIB, LOG, RUN, Folder, HostFile, OpenPort, Part, Place, Service, Stage

FIREWALL = "firewall"


def describe(place: Place) -> Part:
    keep = place.fleet.retention
    tmpfiles = HostFile(
        Path("/etc/tmpfiles.d/airfleet.conf"),
        f"# Written by airfleet: what systemd makes at boot and cleans up every day.\nd {RUN} 0755 root root\n"
        f"e {LOG}/tasks - - - {keep.logs}d\ne {LOG}/server - - - {keep.logs}d\n",
    )
    system = place.machine.system
    return Part(
        name="common",
        packages=(system.python, "ca-certificates", *(("nftables",) if place.fleet.firewall else ())),
        folders=(Folder(LIB), Folder(LOG), Folder(RUN), Folder(LIB / "jobs", mode=0o700)),
        files=(tmpfiles,),
    )


def describe_firewall(place: Place, ports: Iterable[OpenPort], ssh_ports: Iterable[int]) -> Part:
    """Describe the firewall: an nftables table that accepts SSH, replies, and the ports of the host's roles."""
    if not place.fleet.firewall:
        return Part(name=FIREWALL)
    rules = HostFile(ETC / "firewall.nft", render_firewall(ports, ssh_ports))
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


def render_firewall(ports: Iterable[OpenPort], ssh_ports: Iterable[int]) -> str:
    """Return the text for `nft -f`. It replaces the table in one transaction."""
    lines = [
        "# Written by airfleet; say it in fleet.yaml instead.",
        "table inet airfleet",
        "delete table inet airfleet",
        "table inet airfleet {",
        "  chain input {",
        "    type filter hook input priority 0; policy drop;",
        "    ct state established,related accept",
        "    iif lo accept",
        '    meta l4proto { 1, 58 } accept comment "ICMP"',
        f'    tcp dport {_set(map(str, sorted(set(ssh_ports))))} accept comment "SSH"',
    ]
    for port in sorted(set(ports), key=lambda port: (port.number, port.sources, port.why)):
        opened = f'tcp dport {port.number} accept comment "{port.why}"'
        lines.append(f"    {_from(port.sources)}{opened}")
    return "\n".join([*lines, "  }", "}", ""])


def _set(words: Iterable[str]) -> str:
    listed = list(words)
    return listed[0] if len(listed) == 1 else f"{{ {', '.join(listed)} }}"


def _from(sources: tuple[str, ...]) -> str:
    if not sources:
        return ""
    return f"ip saddr {_set(sorted(set(sources)))} "
