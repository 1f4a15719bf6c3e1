"""`python -m machines`: beds from the command line."""

from __future__ import annotations

import json
import os
import sys

import click

from machines import bed as beds
from machines import hypervisor
from machines.bed import Bed
from machines.image import Recipe, ensure_image
from machines.needs import why_not
from machines.system import MachineError

_bed = click.option("--bed", "name", default="dev", show_default=True, help="Which bed.")


@click.group()
def main() -> None:
    """Debian machines with systemd and sshd on this box, for tests and for trying things out.

    Example: python -m machines up --hosts 3 && python -m machines ssh h1
    """


@main.command()
@_bed
@click.option("--hosts", default=1, show_default=True, help="How many, named h1, h2 ...")
@click.option("--names", default="", help="Names instead, separated by commas.")
@click.option("--fetched", default="", help="Debian packages to lie ready in apt's cache, separated by commas.")
@click.option("--json", "as_json", is_flag=True, help="What was made, as JSON.")
def up(name: str, hosts: int, names: str, fetched: str, as_json: bool) -> None:
    """Make a bed that stays until `down`, and wait until its machines answer."""
    recipe = Recipe(fetched=tuple(sorted(one for one in fetched.split(",") if one)))
    click.echo("image ...", err=True)
    image = ensure_image(recipe)
    made = Bed.create(names.split(",") if names else hosts, bed=name, keep=True, image=image)
    made.wait_ready()
    _print(made, as_json)


@main.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(as_json: bool) -> None:
    """Show every bed on this box."""
    for one in beds.find_beds():
        _print(one, as_json)


@main.command()
@_bed
def down(name: str) -> None:
    """Take a bed away."""
    Bed.open(name).destroy()


@main.command(context_settings={"ignore_unknown_options": True})
@_bed
@click.argument("machine")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh(name: str, machine: str, command: tuple[str, ...]) -> None:
    """Log in to a machine, or run one command there."""
    found = Bed.open(name)[machine]
    os.execvp("ssh", ["ssh", "-F", str(found.layout.ssh_config), machine, *command])


@main.command()
@_bed
@click.argument("machine")
@click.argument("command", nargs=-1, required=True)
def console(name: str, machine: str, command: tuple[str, ...]) -> None:
    """Run one command as root without the network, as if at the machine's own screen."""
    click.echo(Bed.open(name)[machine].console(" ".join(command)), nl=False)


@main.command()
@_bed
@click.argument("machine")
@click.option("--unit", help="Only one unit's.")
def logs(name: str, machine: str, unit: str | None) -> None:
    """Print a machine's journal, also of one that is off."""
    click.echo(Bed.open(name)[machine].read_logs(unit), nl=False)


@main.command()
@_bed
@click.argument(
    "what", type=click.Choice(["pull-plug", "power-on", "reboot", "freeze", "thaw", "fill-disk", "free-disk"])
)
@click.argument("machine")
def do(name: str, what: str, machine: str) -> None:
    """Do to a machine what happens to machines. Example: python -m machines do pull-plug h2"""
    getattr(Bed.open(name)[machine], what.replace("-", "_"))()


@main.command("skew-clock")
@_bed
@click.argument("machine")
@click.argument("seconds", type=int)
def skew_clock(name: str, machine: str, seconds: int) -> None:
    """Let services started from now on see another time. Example: python -m machines skew-clock h1 300"""
    Bed.open(name)[machine].skew_clock(seconds)


@main.command()
@_bed
@click.argument("some")
@click.argument("others")
def partition(name: str, some: str, others: str) -> None:
    """Cut the network between two sides. Example: python -m machines partition h1 h2,h3"""
    Bed.open(name).partition(some.split(","), others.split(","))


@main.command()
@_bed
@click.argument("machines", nargs=-1, required=True)
def offline(name: str, machines: tuple[str, ...]) -> None:
    """Cut machines off from all but their bed."""
    Bed.open(name).go_offline(*machines)


@main.command()
@_bed
def heal(name: str) -> None:
    """Undo every cut in a bed's network."""
    Bed.open(name).heal()


@main.command()
def clean() -> None:
    """Take away the beds that killed processes left."""
    for one in beds.clean_up():
        click.echo(one)


@main.command()
def check() -> None:
    """Say whether machines can run here: exit code 0, or 1 and the reason."""
    if reason := why_not():
        raise MachineError(reason)


@main.command()
def driver() -> None:
    """Make machines for `machines` in fleet.yaml: read one request from stdin, and write the answer to stdout."""
    click.echo(json.dumps(hypervisor.answer(hypervisor.read_request(sys.stdin.read()))))


@main.command(hidden=True)
@click.argument("bed")
def watch(bed: str) -> None:
    """Wait for the end of a bed's owner, then take the bed away."""
    beds.watch(bed)


def _print(bed: Bed, as_json: bool) -> None:
    if as_json:
        said = {
            "bed": bed.layout.bed,
            "ssh_config": str(bed.layout.ssh_config),
            "key": str(bed.layout.key),
            "known_hosts": str(bed.layout.known_hosts),
            "user": "ops",
            "machines": {one.name: one.address for one in bed.machines},
        }
        click.echo(json.dumps(said))
        return
    click.echo(f"bed {bed.layout.bed}: ssh -F {bed.layout.ssh_config} NAME")
    for one in bed.machines:
        click.echo(f"  {one.name:12} {one.address:16} {'on' if one.is_on() else 'off'}")


if __name__ == "__main__":
    try:
        main()
    except MachineError as error:
        click.echo(f"machines: {error}", err=True)
        sys.exit(1)
