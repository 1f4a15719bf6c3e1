"""Which driver makes the machines of a fleet."""

from __future__ import annotations

import os
from pathlib import Path

from airfleet.errors import AirfleetError
from airfleet.operations.machines import user_data
from airfleet.operations.machines.command import CommandDriver
from airfleet.operations.machines.driver import Driver
from airfleet.spec.fleet import Fleet
from airfleet.spec.machines import Machines


def open_driver(machines: Machines, fleet: Fleet, project: Path) -> Driver:
    """Return the driver that fleet.yaml names.

    Raises:
        AirfleetError: A package of the driver is missing, or there is no login.
    """

    def write(name: str) -> str:
        return user_data.write(name, fleet.ssh, project)

    try:
        if machines.vsphere is not None:
            from airfleet.operations.machines import vsphere  # noqa: PLC0415 - an extra of the package

            return vsphere.open_driver(machines.vsphere, os.environ, fleet=fleet.name, project=project, user_data=write)
        if machines.ec2 is not None:
            from airfleet.operations.machines import ec2  # noqa: PLC0415 - an extra of the package

            return ec2.open_driver(machines.ec2, fleet=fleet.name, user_data=write)
        if machines.libvirt is not None:
            from airfleet.operations.machines import libvirt  # noqa: PLC0415 - an extra of the package

            return libvirt.open_driver(machines.libvirt, fleet=fleet.name, user_data=write)
        if machines.openstack is not None:
            from airfleet.operations.machines import openstack  # noqa: PLC0415 - an extra of the package

            return openstack.open_driver(machines.openstack, fleet=fleet.name, user_data=write)
    except ModuleNotFoundError as error:
        # By its file: an index may have something else under this name.
        hint = f"install the extra of the wheel: uv tool install './airfleet-….whl[{machines.driver}]'"
        raise AirfleetError(f"the driver {machines.driver} needs the package {error.name}", hint=hint) from None

    def write_if_known(name: str) -> str:
        # A program may let airfleet in by other means, so a public key that is not here is no error.
        try:
            return write(name)
        except AirfleetError:
            return ""

    return CommandDriver(machines.command, fleet=fleet.name, project=project, user_data=write_if_known)
