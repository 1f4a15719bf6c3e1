"""The tunnel of administrators: WireGuard of the kernel, with a key that the host makes and that never leaves it."""

from __future__ import annotations

from airfleet.components.host_model import ETC, LIB, Folder, HostFile, OpenPort, Part, Place, Service, Stage
from airfleet.components.hosts import entrances
from airfleet.shell_script import render_script
from airfleet.spec.vpn import Vpn
from airfleet.template import render_template

NAME = "vpn"
FOLDER = ETC / NAME
PEERS, PROGRAM = FOLDER / "peers.conf", FOLDER / "bring_up.sh"
# Not below ETC: what no part describes is removed there.
OWN = LIB / NAME
KEY = OWN / "private.key"
# `wg` also tries sockets of IP while it reads the number of the port, and needs none.
SANDBOX = {"CapabilityBoundingSet": "CAP_NET_ADMIN", "RestrictAddressFamilies": "AF_UNIX AF_NETLINK"}


def describe(place: Place) -> Part:
    """Describe the tunnel on the host where it ends; nothing elsewhere.

    A change of administrators is a reload: tunnels of the others stay open.
    """
    vpn = place.fleet.vpn
    if vpn is None or not entrances.ends_tunnel(place):
        return Part(name=NAME)
    files = (HostFile(PEERS, render_peers(vpn)), HostFile(PROGRAM, render_program(vpn), mode=0o755))
    service = Service(
        name=NAME,
        what="the tunnel by which administrators enter",
        stage=Stage.EDGE,
        command=(str(PROGRAM),),
        user="root",
        files=files,
        reload=((str(PROGRAM),),),
        undo=("/usr/sbin/ip", "link", "delete", "dev", entrances.TUNNEL),
        kind="oneshot",
        writes=(OWN,),
        sandbox=SANDBOX,
    )
    return Part(
        name=NAME,
        packages=("wireguard-tools", "iproute2"),
        folders=(Folder(FOLDER), Folder(OWN, mode=0o700)),
        files=files,
        services=(service,),
        ports=(OpenPort(vpn.port, (), "WireGuard of administrators", "udp"),),
    )


def render_peers(vpn: Vpn) -> str:
    """Return the administrators as `wg` reads them. It has no secret: the program adds the key of the host."""
    return render_template(__package__, "peers.conf", people=vpn.administrators)


def render_program(vpn: Vpn) -> str:
    """Return the program that brings the tunnel up, and up to date."""
    values = render_script(
        __package__,
        "bring_up_vpn",
        INTERFACE=entrances.TUNNEL,
        KEY=KEY,
        PEERS=PEERS,
        PORT=vpn.port,
        ADDRESS=f"{vpn.address}/{vpn.prefix}",
    )
    return f"#!/bin/bash\n{values}"
