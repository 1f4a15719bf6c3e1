"""`airfleet vpn …`: how administrators enter a fleet by its tunnel, and who of them is in it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from airfleet.cli import options

# The functions import what they need, as `--help` needs none of it.
# ruff: noqa: PLC0415


@click.group("vpn", short_help="How administrators enter the fleet by its tunnel, and who is in it.")
def command() -> None:
    """Show the tunnel of `vpn` in fleet.yaml. `airfleet apply` makes it what fleet.yaml says.

    \b
    Example:
      airfleet vpn config ann > airfleet.conf
      airfleet vpn list
    """


@command.command("config")
@click.argument("name")
@options.project_option
def config_command(name: str, project: Path) -> None:
    """Print the WireGuard configuration of an administrator of fleet.yaml.

    It has the public key of the host, which is read there, and no secret: the administrator adds the private key.

    \b
    Example:
      airfleet vpn config ann > airfleet.conf
    """
    from airfleet.errors import AirfleetError
    from airfleet.operations import vpn
    from airfleet.workspace.project import find_project, read_fleet

    project = find_project(project)
    fleet = read_fleet(project)
    tunnel = vpn.find_vpn(fleet, project)
    who = vpn.find_administrator(tunnel, name)
    key = vpn.read_state(fleet, tunnel, project).public_key
    if not key:
        raise AirfleetError("there is no tunnel yet", where=tunnel.host, hint="airfleet apply")
    click.echo(vpn.render_profile(fleet, tunnel, who, key), nl=False)
    click.echo(f"UI in the tunnel: {vpn.find_ui_url(fleet, tunnel)}", err=True)
    click.echo(f"SSH: ssh {tunnel.address}; other hosts: ssh -J {tunnel.address} ADDRESS", err=True)


@command.command("list")
@options.project_option
@options.as_json
def list_command(project: Path, as_json: bool) -> None:
    """List who may enter, who is in the tunnel now, and what is wrong with it.

    Exits with 1 if the tunnel is not there, or somebody may enter whom fleet.yaml does not name.

    \b
    Example:
      airfleet vpn list --json
    """
    from airfleet.operations import vpn
    from airfleet.runners.fleet.survey.administrator_tunnel import judge
    from airfleet.workspace.project import find_project, read_fleet
    from airfleet_provider.contract import wording

    project = find_project(project)
    fleet = read_fleet(project)
    tunnel = vpn.find_vpn(fleet, project)
    state = vpn.read_state(fleet, tunnel, project)
    found = [one for one in judge(tunnel, state) if one.level != "ok"]
    names = {one.public_key: one.name for one in tunnel.administrators}
    if as_json:
        peers = [
            {
                "name": names.get(peer.public_key),
                "public_key": peer.public_key,
                "allowed": peer.allowed,
                "endpoint": peer.endpoint or None,
                "seen_s": peer.seen_s,
                "connected": peer.is_connected,
            }
            for peer in state.peers.values()
        ]
        document = {"host": tunnel.host, "public_key": state.public_key or None, "peers": peers}
        click.echo(json.dumps({**document, "problems": [one.what for one in found]}, indent=2))
    else:
        for peer in state.peers.values():
            seen = "never" if peer.seen_s is None else f"{wording.duration(peer.seen_s)} ago from {peer.endpoint}"
            name = names.get(peer.public_key, "(not in fleet.yaml)")
            click.echo(f"{name:<20}  {peer.allowed:<18}  {'connected' if peer.is_connected else 'away':<9}  {seen}")
        for one in found:
            click.echo(f"{one.subject}: {one.what}\n  hint: {one.hint}", err=True)
    raise SystemExit(1 if any(one.level == "error" for one in found) else 0)
