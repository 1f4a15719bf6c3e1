"""The address that the balancer hosts share: keepalived gives it to one of them, by VRRP."""

from __future__ import annotations

from airfleet.components.host_model import (
    BALANCER_STATE,
    ETC,
    VRRP,
    Folder,
    HostFile,
    OpenPort,
    Part,
    Place,
    Service,
    Stage,
)
from airfleet.shell_script import render_script
from airfleet.template import render_template

NAME = "keepalived"
FOLDER = ETC / NAME
CONFIG, PROGRAM = FOLDER / "keepalived.conf", FOLDER / "ask_haproxy.sh"
USER = "airfleet-keepalived"
# A host that is gone loses the address after 3 x ADVERT_S and up to ADVERT_S more. Less than that would make a host
# that is only slow for a second lose it.
ADVERT_S = 0.6
# Only peers hear it, so other clusters in the same network may have the same number.
ROUTER = 51
PRIORITY, BLIND = 150, 50
# What sets addresses, sends VRRP and ARP, and drops the groups of the program that asks HAProxy.
CAPABILITIES = "CAP_NET_ADMIN CAP_NET_RAW CAP_SETGID"
SANDBOX = {
    "CapabilityBoundingSet": CAPABILITIES,
    "AmbientCapabilities": CAPABILITIES,
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET",
    "RuntimeDirectory": USER,
    # A busy host must not look dead.
    "Nice": "-10",
}


def describe(place: Place) -> Part:
    """Describe what holds the shared address on a balancer host; nothing if fleet.yaml names no such address.

    It stops before HAProxy does, so that the address moves first when the host shuts down.
    """
    if place.fleet.balancer is None:
        return Part(name=NAME)
    files = (HostFile(CONFIG, render_config(place)), HostFile(PROGRAM, render_program(), mode=0o755))
    run = f"/run/{USER}"
    service = Service(
        name=NAME,
        what=f"gives the address {place.fleet.balancer} to one of the balancer hosts",
        stage=Stage.EDGE,
        command=(
            *("/usr/sbin/keepalived", "--dont-fork", "--vrrp", "--log-console", "--no-syslog"),
            *("--use-file", str(CONFIG), "--pid", f"{run}/main.pid", "--vrrp_pid", f"{run}/vrrp.pid"),
        ),
        user=USER,
        files=files,
        reload=(("/bin/kill", "-HUP", "$MAINPID"),),
        stop_s=10,
        after=("airfleet-balancer.service",),
        sandbox=SANDBOX,
    )
    return Part(
        name=NAME,
        packages=("keepalived",),
        masks=("keepalived.service",),
        users=(USER,),
        folders=(Folder(FOLDER),),
        files=files,
        services=(service,),
        ports=(OpenPort(VRRP, _list_peers(place), "VRRP of the other balancers", "ip"),),
    )


def render_config(place: Place) -> str:
    """Return keepalived.conf. Without a link of the host's own address, the interface is empty: no host accepts it."""
    link = place.machine.links.get(place.own_address)
    return render_template(
        __package__,
        "keepalived.conf",
        host=place.host.name,
        user=USER,
        program=PROGRAM,
        interface=link.interface if link else "",
        router=ROUTER,
        priority=PRIORITY,
        blind=BLIND,
        advert_s=ADVERT_S,
        own=place.own_address,
        peers=_list_peers(place),
        address=place.fleet.balancer,
    )


def render_program() -> str:
    """Return the program that asks HAProxy of the host for its state."""
    return f"#!/bin/bash\n{render_script(__package__, 'ask_haproxy', PORT=BALANCER_STATE)}"


def _list_peers(place: Place) -> tuple[str, ...]:
    return tuple(address for address in place.addresses("balancer") if address != place.host.address)
