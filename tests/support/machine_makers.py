"""What the drivers of machines make machines with, in tests: a program of a user's, moto for EC2, vcsim for vSphere."""

from __future__ import annotations

import functools
import json
import re
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import boto3
from botocore.exceptions import ClientError
from moto import mock_aws
from pyVmomi import vim

from airfleet.operations.machines import ec2
from airfleet.operations.machines.command import CommandDriver
from airfleet.operations.machines.driver import Driver
from airfleet.operations.machines.ec2 import Ec2Driver
from airfleet.operations.machines.vsphere import VsphereDriver
from airfleet.spec.machines import GIB, Ec2, MachineGroup, Vsphere
from machine_program import PROGRAM

ROOT = Path(__file__).parents[2]
VCSIM = shutil.which("vcsim") or str(ROOT / ".tools" / "vcsim" / "bin" / "vcsim")
USER_DATA = "#cloud-config\nhostname: x\n"


class Maker(Protocol):
    """Makes machines for one driver, and shows what is really there."""

    def open(self, fleet: str) -> Driver: ...

    def group(self, count: int) -> MachineGroup: ...

    def count(self) -> int:
        """Return how many machines are there, of whatever fleet."""

    def give_addresses(self) -> None:
        """Let the machines without an address have one."""


class Program:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "driver.py").write_text(PROGRAM)

    def open(self, fleet: str) -> Driver:
        return CommandDriver((sys.executable, "driver.py"), fleet=fleet, project=self.folder)

    def group(self, count: int) -> MachineGroup:
        return MachineGroup("web", count, 4, 8 * GIB, 50 * GIB, "debian-13")

    def count(self) -> int:
        store = self.folder / "cloud.json"
        return len(json.loads(store.read_text())) if store.exists() else 0

    def give_addresses(self) -> None:
        pass


class PlacedClient:
    """A client of moto's EC2, which has no placement groups. These are made up, as the service's manual says."""

    def __init__(self) -> None:
        self._client = boto3.client("ec2", region_name="eu-central-1")
        self._placements: dict[str, Any] = {}
        self._images: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever boto3 has
        return functools.partial(self.call, name)

    def call(self, name: str, *words: Any, **more: Any) -> Any:  # noqa: ANN401 - whatever boto3 has
        """Send one request. Tests watch it."""
        own = getattr(type(self), f"_{name}", None)
        return own(self, **more) if own else getattr(self._client, name)(*words, **more)

    def _describe_images(self, **wanted: Any) -> Any:  # noqa: ANN401 - as boto3 has it
        # moto needs a second for its 500 images, and they never change.
        words = repr(wanted)
        if words not in self._images:
            self._images[words] = self._client.describe_images(**wanted)
        return self._images[words]

    def _create_placement_group(self, **wanted: Any) -> None:  # noqa: ANN401 - as boto3 has it
        if wanted["GroupName"] in self._placements:
            said = {"Code": "InvalidPlacementGroup.Duplicate"}
            raise ClientError({"Error": said}, "CreatePlacementGroup")
        self._placements[wanted["GroupName"]] = wanted

    def _describe_placement_groups(self, Filters: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - boto3's name
        names = [name for one in Filters if one["Name"] == "group-name" for name in one["Values"]]
        return {"PlacementGroups": [one for name, one in self._placements.items() if not Filters or name in names]}

    def _delete_placement_group(self, GroupName: str) -> None:  # noqa: N803 - boto3's name
        if self._placements.pop(GroupName, None) is None:
            raise ClientError({"Error": {"Code": "InvalidPlacementGroup.Unknown"}}, "DeletePlacementGroup")


class Aws:
    def __init__(self) -> None:
        self.client: Any = PlacedClient()

    def open(self, fleet: str) -> Driver:
        return Ec2Driver(self.client, Ec2(), fleet=fleet, user_data=lambda _: USER_DATA, sleep=lambda _: None)

    def group(self, count: int) -> MachineGroup:
        image = self.client.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        return MachineGroup("web", count, 4, 8 * GIB, 50 * GIB, image, apart=True)

    def count(self) -> int:
        pages = self.client.describe_instances()["Reservations"]
        return sum(one["State"]["Name"] in ec2._ALIVE for page in pages for one in page["Instances"])

    def give_addresses(self) -> None:
        pass


class Vcenter:
    """A vcsim. Its inventory has four machines at first, of which one serves as the template."""

    FIRST = 4

    def __init__(self, port: int, ca: Path) -> None:
        self.place = Vsphere("127.0.0.1", port, "DC0", "DC0_C0", "LocalDS_0", "", str(ca))

    def open(self, fleet: str) -> VsphereDriver:
        login = ("ops", "a password")
        return VsphereDriver(
            self.place, login, fleet=fleet, project=Path("/"), user_data=lambda _: USER_DATA, sleep=_rest
        )

    def group(self, count: int) -> MachineGroup:
        return MachineGroup("web", count, 4, 8 * GIB, 50 * GIB, "DC0_C0_RP0_VM0", "DC0_DVPG0", apart=True)

    def machines(self) -> list[vim.VirtualMachine]:
        driver = self.open("any")
        with driver._connected("look") as content:
            view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
            return list(view.view)

    def count(self) -> int:
        return len(self.machines()) - self.FIRST

    def give_addresses(self) -> None:
        driver = self.open("any")
        with driver._connected("look") as content:
            view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
            for number, one in enumerate(view.view, 10):
                address = vim.option.OptionValue(key="SET.guest.ipAddress", value=f"10.0.0.{number}")
                driver._wait(one.ReconfigVM_Task(vim.vm.ConfigSpec(extraConfig=[address])))


def _rest(_: float) -> None:
    time.sleep(0.01)


@contextmanager
def run_aws() -> Iterator[Aws]:
    with mock_aws():
        yield Aws()


@contextmanager
def run_vcenter(folder: Path, *words: str) -> Iterator[Vcenter]:
    """Start a vcsim on a free port, with more words of its command line. It ends with the block."""
    login = ("-username", "ops", "-password", "a password")
    command = [VCSIM, "-l", "127.0.0.1:0", "-api-version", "7.0", *login, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
            assert found, "vcsim says no address"
            ca = folder / "vcenter.pem"
            ca.write_text(ssl.get_server_certificate(("127.0.0.1", int(found[1]))))
            yield Vcenter(int(found[1]), ca)
        finally:
            process.kill()
