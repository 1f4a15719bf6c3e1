"""What administrators need to enter a fleet by its tunnel, and who of them is in it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from airfleet.components.hosts import entrances
from airfleet.errors import UsageError
from airfleet.runners.fleet.survey import administrator_tunnel
from airfleet.runners.fleet.survey.administrator_tunnel import TunnelState
from airfleet.runners.fleet.transport.shell import HostShell
from airfleet.spec.addresses import join_port
from airfleet.spec.fleet import Fleet
from airfleet.spec.vpn import Administrator, Vpn
from airfleet.template import render_template

# Not valid as a key, so that nobody starts the tunnel without one.
YOURS = "(your private key: airfleet does not have it)"


def find_vpn(fleet: Fleet, project: Path) -> Vpn:
    """Return the tunnel of a fleet.

    Raises:
        UsageError: fleet.yaml describes none.
    """
    if fleet.vpn is None or not fleet.hosts:
        hint = "add `vpn`; docs/guides/private-network.md shows how"
        raise UsageError("fleet.yaml has no `vpn`", where=str(project), hint=hint)
    return fleet.vpn


def find_administrator(vpn: Vpn, name: str) -> Administrator:
    """Return the administrator of this name.

    Raises:
        UsageError: fleet.yaml does not name them.
    """
    for one in vpn.administrators:
        if one.name == name:
            return one
    known = ", ".join(one.name for one in vpn.administrators) or "none"
    raise UsageError(f"there is no administrator {name!r}", hint=f"under vpn.administrators: {known}")


def read_state(fleet: Fleet, vpn: Vpn, project: Path) -> TunnelState:
    """Return the state of the tunnel on its host.

    Raises:
        HostError: The host does not answer.
    """
    with closing(HostShell(next(host for host in fleet.hosts if host.name == vpn.host), project)) as shell:
        return administrator_tunnel.read_state(shell.run)


def render_profile(fleet: Fleet, vpn: Vpn, who: Administrator, host_key: str) -> str:
    """Return the configuration of an administrator's WireGuard, without the private key."""
    inside = dict.fromkeys(one for one in (vpn.address, entrances.find_ui_address(fleet)) if one)
    return render_template(
        __package__,
        "vpn_profile.conf",
        fleet=fleet.name,
        who=who,
        yours=YOURS,
        host_key=host_key,
        vpn=vpn,
        endpoint=join_port(vpn.endpoint, vpn.port),
        allowed=", ".join(f"{address}/32" for address in inside),
    )


def find_ui_url(fleet: Fleet, vpn: Vpn) -> str:
    """Return the URL of the UI for somebody in the tunnel."""
    if entrances.find_ui_address(fleet):
        return fleet.public_url
    return f"{'https' if fleet.tls else 'http'}://{vpn.address}:{fleet.ports.api}"
