"""`airfleet image …`: images whose machines are hosts of the fleet within seconds."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING

import click

from airfleet.cli import options
from airfleet.cli.console import say
from airfleet.errors import UsageError

if TYPE_CHECKING:
    from airfleet.components.host_model import System
    from airfleet.operations.image.contents import ImageContents

groups_option = click.option(
    "--group", "groups", multiple=True, help="A group of `machines`. Repeatable.  [default: every host]"
)
output_option = click.option("--output", type=click.Path(path_type=Path), required=True)


@click.group("image", short_help="Images whose machines join the fleet fast: build, recipe.")
def command() -> None:
    """Prepare images with everything that `airfleet apply` would install: packages, Airflow, users.

    A machine that was made from one needs only its files and its services. No image holds a secret, an SSH key, a login
    or an enabled service of the fleet.

    \b
    Example:
      sudo airfleet image build --output debian-12-sales
      airfleet image recipe --output image
    """


@command.command("build")
@options.project
@options.state
@output_option
@groups_option
@click.option("--base", type=click.Path(path_type=Path), help="A folder or tar file to start from, with cloud-init.")
@click.option("--mirror", default="", help="Without --base: the package mirror.  [default: that of debootstrap]")
@click.option(
    "--keyring", type=click.Path(path_type=Path), help="The keys of the mirror.  [default: those of the system]"
)
def build_command(
    project: Path,
    state: Path | None,
    output: Path,
    groups: tuple[str, ...],
    base: Path | None,
    mirror: str,
    keyring: Path | None,
) -> None:
    """Build a root file system: a folder, or a tar file if OUTPUT ends with .tar, .tar.gz, .tar.xz or .tar.zst.

    systemd-nspawn, LXC and Incus boot from it. It has no kernel; for virtual machines use `airfleet image recipe`.
    Takes root, and apt of the same system as the image has.

    \b
    Example:
      sudo airfleet image build --output /var/lib/machines/sales-worker --group worker
    """
    from airfleet.operations.image.contents import find_system  # noqa: PLC0415
    from airfleet.operations.image.root_files import (  # noqa: PLC0415 - `--help` needs none of it
        RootBase,
        build_root,
        check_output,
        read_base,
    )
    from airfleet.runners.fleet.packaging import airflow_archive  # noqa: PLC0415

    start = RootBase(base, mirror, keyring)
    check_output(output, start)
    system = find_system(read_base(start), str(base or "this machine"))
    contents = _read(project, state, groups, system)
    build_root(contents, output, start, say, cache=airflow_archive.find_cache())
    say(f"{output}: {contents.name}, for {', '.join(contents.hosts)}")


@command.command("recipe")
@options.project
@options.state
@output_option
@groups_option
@click.option("--system", "named", help='The system of the base, such as "debian 12".  [default: that of this machine]')
@click.option(
    "--arch", default=platform.machine(), show_default=True, help="The architecture of the base: x86_64 or aarch64."
)
def recipe_command(
    project: Path, state: Path | None, output: Path, groups: tuple[str, ...], named: str | None, arch: str
) -> None:
    """Write a folder that prepares a machine: `prepare.sh`, `clean.sh`, all steps with their archives.

    For ec2, openstack and vsphere, the folder has `image.pkr.json`, with which Packer makes the image.

    \b
    Example:
      airfleet image recipe --output image && packer init image
      packer build -var base=ami-0a1b2c -var ssh_username=admin image
    """
    from airfleet.operations.image import recipe  # noqa: PLC0415 - `--help` needs none of it
    from airfleet.operations.image.contents import check_arch, find_system  # noqa: PLC0415
    from airfleet.operations.image.root_files import RootBase, read_base  # noqa: PLC0415
    from airfleet.runners.fleet.packaging import airflow_archive  # noqa: PLC0415
    from airfleet.workspace.project import find_project, read_fleet  # noqa: PLC0415

    if output.exists():
        raise UsageError("it exists already", where=str(output), hint="name a new folder")
    check_arch(arch)
    if named is None:
        system = find_system(read_base(RootBase()), "this machine")
    else:
        identity, _, version = named.partition(" ")
        system = find_system((identity, version), "--system")
    contents = _read(project, state, groups, system, arch)
    machines = read_fleet(find_project(project)).machines
    recipe.write_recipe(contents, machines, output, say, cache=airflow_archive.find_cache())
    say(f"{output}: {contents.name}, for {', '.join(contents.hosts)}")


def _read(
    project: Path, state: Path | None, groups: tuple[str, ...], system: System, arch: str = platform.machine()
) -> ImageContents:
    from airfleet.operations.image.contents import find_airflow, read_contents  # noqa: PLC0415 - as above
    from airfleet.workspace.project import find_project, find_state, read_fleet  # noqa: PLC0415

    place = find_project(project)
    airflow = find_airflow(find_state(place, state))
    return read_contents(read_fleet(place), place, groups=groups, system=system, arch=arch, airflow=airflow)
