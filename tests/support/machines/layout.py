"""Names, addresses and files of a bed: all of it follows from the bed's id, its subnet and its machines' names."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

USER = "ops"
NETWORK = "10.213"
NETWORK_IPV6 = "fd0a:f213"
REBOOT = 133  # how systemd-nspawn ends when the machine in it reboots


@dataclass(frozen=True)
class Seat:
    """The place of one machine in a bed."""

    bed: str
    net: int
    number: int
    name: str
    has_ipv6: bool = False

    @property
    def address(self) -> str:
        """Return the address at which others reach the machine: that of IPv6, if it has one."""
        return f"{NETWORK_IPV6}:{self.net:x}::{10 + self.number:x}" if self.has_ipv6 else self.ipv4_address

    @property
    def ipv4_address(self) -> str:
        return f"{NETWORK}.{self.net}.{10 + self.number}"

    @property
    def hardware_address(self) -> str:
        """Return the same address at every boot, so that no peer waits for a stale neighbour entry to expire."""
        return f"02:af:00:00:{self.net:02x}:{self.number:02x}"

    @property
    def link(self) -> str:
        return f"af-{self.bed}-{self.number}"

    @property
    def namespace(self) -> str:
        return f"af-{self.bed}-{self.name}"

    @property
    def domain_name(self) -> str:
        return f"{self.name}.{self.bed}.test"


@dataclass(frozen=True)
class Layout:
    """A bed on paper."""

    bed: str
    net: int
    names: tuple[str, ...]
    folder: Path
    # Besides the addresses of IPv4, by which machines reach package mirrors.
    has_ipv6: bool = False

    @property
    def seats(self) -> tuple[Seat, ...]:
        return tuple(Seat(self.bed, self.net, number, name, self.has_ipv6) for number, name in enumerate(self.names, 1))

    @property
    def bridge(self) -> str:
        return f"af-{self.bed}"

    @property
    def table(self) -> str:
        return f"airfleet_{self.bed}"

    @property
    def gateway(self) -> str:
        return f"{NETWORK}.{self.net}.1"

    @property
    def gateway_ipv6(self) -> str:
        return f"{NETWORK_IPV6}:{self.net:x}::1"

    @property
    def subnet(self) -> str:
        return f"{NETWORK}.{self.net}.0/24"

    @property
    def key(self) -> Path:
        return self.folder / "key"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        return self.folder / "ssh_config"

    def folder_of(self, seat: Seat) -> Path:
        return self.folder / "machines" / seat.name


def choose_net(taken: Iterable[int], routes: str) -> int:
    """A subnet that no other bed has and no route of this box touches."""
    used = set(taken)
    return next(net for net in range(1, 255) if net not in used and f"{NETWORK}.{net}." not in routes)


def render_rules(layout: Layout) -> str:
    """nftables: the way out, nothing between beds, and sets of what is cut, at first empty."""
    return f"""\
table bridge {layout.table} {{
    set cut {{
        type ifname . ifname
    }}
    chain forward {{
        type filter hook forward priority 0; policy accept;
        iifname . oifname @cut drop
    }}
}}
table ip {layout.table} {{
    set offline {{
        type ipv4_addr
    }}
    chain forward {{
        type filter hook forward priority 0; policy accept;
        ip saddr @offline oifname != "{layout.bridge}" drop
        iifname "{layout.bridge}" oifname != "{layout.bridge}" oifname "af-*" drop
    }}
    chain postrouting {{
        type nat hook postrouting priority 100; policy accept;
        ip saddr {layout.subnet} ip daddr != {layout.subnet} masquerade
    }}
}}
"""


def render_boot(layout: Layout, seat: Seat, groups: Sequence[Path]) -> str:
    """A shell script that powers a machine, with a new network card each time, until it is switched off or killed."""
    namespace, link = seat.namespace, seat.link
    enter = "; ".join(f"echo $$ > {shlex.quote(str(one / 'cgroup.procs'))}" for one in groups)
    nspawn = shlex.join(
        [
            "systemd-nspawn", "--quiet", f"--directory={layout.folder_of(seat) / 'root'}", f"--machine={namespace}",
            f"--network-namespace-path=/run/netns/{namespace}", "--register=no", "--keep-unit", "--link-journal=no",
            "--capability=CAP_NET_ADMIN",
            "--resolv-conf=off", "--timezone=off", "--kill-signal=SIGRTMIN+3", "/usr/local/sbin/machine-init",
        ]
    )  # fmt: skip
    own_ipv6 = f"\n    ip -n {namespace} address add {seat.address}/64 dev eth0 nodad" if seat.has_ipv6 else ""
    return f"""\
#!/bin/sh
# Powers {seat.domain_name}; a reboot inside ends in exit code {REBOOT}.
while :; do
    ip link delete {link} 2>/dev/null
    ip netns delete {namespace} 2>/dev/null
    set -e
    ip netns add {namespace}
    ip link add {link} type veth peer name eth0 address {seat.hardware_address} netns {namespace}
    ip link set {link} master {layout.bridge} up
    ip -n {namespace} link set lo up
    ip -n {namespace} address add {seat.ipv4_address}/24 dev eth0{own_ipv6}
    ip -n {namespace} link set eth0 up
    ip -n {namespace} route add default via {layout.gateway}
    set +e
    sh -c {shlex.quote(f"{enter}; exec {nspawn}")}
    ended=$?
    ip link set {link} down
    [ $ended = {REBOOT} ] || exit 0
done
"""


def render_hosts(layout: Layout, seat: Seat) -> str:
    """/etc/hosts of one machine: every machine of the bed by its name."""
    own = f"{seat.address} {seat.domain_name} {seat.name}"
    others = [f"{one.address} {one.domain_name} {one.name}" for one in layout.seats if one != seat]
    return "\n".join(["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback", own, *others, ""])


def render_ssh_config(layout: Layout) -> str:
    """For `ssh -F`: each machine by its name, the bed's key and the machines' known keys, and nothing of the user's."""
    blocks = [
        f"Host {one.name} {one.domain_name} {one.address}\n    HostName {one.address}\n    HostKeyAlias {one.name}\n"
        for one in layout.seats
    ]
    return (
        "".join(blocks) + f"Host *\n    User {USER}\n    IdentityFile {layout.key}\n    IdentitiesOnly yes\n"
        f"    UserKnownHostsFile {layout.known_hosts}\n    GlobalKnownHostsFile /dev/null\n"
        "    StrictHostKeyChecking yes\n    BatchMode yes\n    ConnectTimeout 5\n    ServerAliveInterval 5\n"
    )


def render_known_hosts(layout: Layout, keys: dict[str, str]) -> str:
    """One line per machine, under its name and its address."""
    return "".join(f"{one.name},{one.domain_name},{one.address} {keys[one.name]}\n" for one in layout.seats)
