"""The driver `ec2`: Amazon EC2 makes the machines. `boto3` comes with the extra `airfleet[ec2]`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from airfleet.errors import AirfleetError
from airfleet.operations.machines.driver import FLEET_TAG, GROUP_TAG, KEY_TAG, Machine, UserData
from airfleet.operations.machines.ec2_types import choose_type
from airfleet.spec.machines import GIB, Ec2, MachineGroup

if TYPE_CHECKING:
    from botocore.client import BaseClient

    Client: TypeAlias = BaseClient
    Instance: TypeAlias = Mapping[str, Any]

# Instances in other states are gone, though the service shows them for an hour.
_ALIVE = ("pending", "running", "stopping", "stopped")
_NAME_TAG = "Name"
# A machine shows up in lists some seconds after it is made.
VISIBLE_S, PAUSE_S = 60.0, 2.0


def open_driver(settings: Ec2, *, fleet: str, user_data: UserData) -> Ec2Driver:
    """Return the driver with the login of the AWS configuration.

    Raises:
        AirfleetError: The configuration names no region, or no such profile.
    """
    import time  # noqa: PLC0415 - the only place with the real clock

    with _telling("find a login"):
        session = boto3.session.Session(profile_name=settings.profile or None, region_name=settings.region or None)
        client = session.client("ec2", endpoint_url=settings.endpoint or None)
    return Ec2Driver(client, settings, fleet=fleet, user_data=user_data, sleep=time.sleep)


class Ec2Driver:
    """Machines in one region. The key of a machine is its client token too, so a repeated request makes no second."""

    takes_late = False

    def __init__(
        self, client: Client, settings: Ec2, *, fleet: str, user_data: UserData, sleep: Callable[[float], None]
    ) -> None:
        self._client = client
        self._settings = settings
        self._fleet = fleet
        self._user_data = user_data
        self._sleep = sleep

    def list(self) -> tuple[Machine, ...]:
        """Return every machine with the tag of this fleet."""
        with _telling("list instances"):
            return tuple(self._read(one) for one in self._find())

    def list_unfinished(self) -> frozenset[str]:
        """Return nothing: an instance shows in the list soon after the request was taken."""
        return frozenset()

    def create(self, name: str, key: str, group: MachineGroup) -> Machine:
        """Make a machine."""
        with _telling(f"make {name}"):
            if found := self._find(key):
                return self._read(found[0])
            wanted = self._describe(name, key, group)
            try:
                made = self._client.run_instances(**wanted)["Instances"][0]
            except ClientError as error:
                if error.response["Error"]["Code"] != "IdempotentParameterMismatch":
                    raise
                made = self._await_former(name, key)
            if made["State"]["Name"] not in _ALIVE:
                what = f"{name} ({made['InstanceId']}) was ended while it was made"
                raise AirfleetError(what, hint=f"airfleet machines destroy {name}: the next apply makes a new one")
            return self._read(made)

    def destroy(self, machine: Machine) -> None:
        """Destroy a machine, and return when it is gone."""
        with _telling(f"destroy {machine.id}"):
            try:
                pages = self._client.describe_instances(InstanceIds=[machine.id])["Reservations"]
            except ClientError as error:
                if error.response["Error"]["Code"].startswith("InvalidInstanceID"):
                    return
                raise
            [found] = [one for page in pages for one in page["Instances"]]
            tags = _tags(found)
            if (tags.get(FLEET_TAG), tags.get(KEY_TAG)) != (self._fleet, machine.key) or not machine.key:
                if found["State"]["Name"] == "terminated":
                    return  # EC2 still shows it for an hour, and drops its tags meanwhile
                raise AirfleetError(f"{machine.id} has other tags than the machine that airfleet made")
            if found["State"]["Name"] in _ALIVE:
                self._client.terminate_instances(InstanceIds=[machine.id])
            waiter = self._client.get_waiter("instance_terminated")
            waiter.wait(InstanceIds=[machine.id], WaiterConfig={"Delay": 5, "MaxAttempts": 120})
            self._drop_placement(tags.get(GROUP_TAG, ""))

    def _find(self, key: str = "") -> tuple[Instance, ...]:
        filters = [
            {"Name": f"tag:{FLEET_TAG}", "Values": [self._fleet]},
            {"Name": "instance-state-name", "Values": [*_ALIVE]},
        ]
        if key:
            filters.append({"Name": f"tag:{KEY_TAG}", "Values": [key]})
        pages = self._client.get_paginator("describe_instances").paginate(Filters=filters)
        return tuple(one for page in pages for part in page["Reservations"] for one in part["Instances"])

    def _await_former(self, name: str, key: str) -> Instance:
        """Return the machine of a former request whose size was another one: fleet.yaml has changed since."""
        for _ in range(int(VISIBLE_S / PAUSE_S)):
            if found := self._find(key):
                return found[0]
            self._sleep(PAUSE_S)
        what = f"EC2 has a request for {name} of another size, and no such machine"
        raise AirfleetError(what, hint=f"airfleet machines destroy {name}: the next apply makes a new one")

    def _describe(self, name: str, key: str, group: MachineGroup) -> dict[str, object]:
        image = self._find_image(group)
        tags = {FLEET_TAG: self._fleet, KEY_TAG: key, GROUP_TAG: group.name, _NAME_TAG: f"{self._fleet}-{name}"}
        listed = [{"Key": one, "Value": value} for one, value in tags.items()]
        disk = {"VolumeSize": -(-group.disk // GIB), "VolumeType": group.storage or "gp3", "Encrypted": True}
        root = {"DeviceName": image["RootDeviceName"], "Ebs": {**disk, "DeleteOnTermination": True}}
        wanted: dict[str, object] = {
            "MinCount": 1,
            "MaxCount": 1,
            "ClientToken": key,
            "ImageId": image["ImageId"],
            "InstanceType": choose_type(group, self._settings.generation),
            "BlockDeviceMappings": [root],
            "TagSpecifications": [{"ResourceType": one, "Tags": listed} for one in ("instance", "volume")],
            # A task that can be made to fetch an address must not get the machine's login from there.
            "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
            "UserData": self._user_data(name),
        }
        if group.network:
            wanted["SubnetId"] = group.network
        if self._settings.security_groups:
            wanted["SecurityGroupIds"] = list(self._settings.security_groups)
        if group.apart:
            wanted["Placement"] = {"GroupName": self._make_placement(group.name)}
        return wanted

    def _find_image(self, group: MachineGroup) -> Mapping[str, str]:
        """Return the image by its id, or the newest of the account's own ones by its name.

        A name is looked up among the own images only: anybody may publish an image of any name.
        """
        if group.image.startswith("ami-"):
            found = self._client.describe_images(ImageIds=[group.image])["Images"]
        else:
            filters = [{"Name": "name", "Values": [group.image]}]
            found = self._client.describe_images(Filters=filters, Owners=["self"])["Images"]
        if not found:
            where = f"machines.groups.{group.name}.image"
            hint = "name the id of an image (ami-…), or the name of one of your account's own"
            raise AirfleetError(f"no image {group.image}", where=where, hint=hint)
        newest: Mapping[str, str] = max(found, key=lambda one: str(one.get("CreationDate")))
        return newest

    def _placement(self, group: str) -> str:
        return f"airfleet-{self._fleet}-{group}"

    def _make_placement(self, group: str) -> str:
        name = self._placement(group)
        tags = [{"Key": FLEET_TAG, "Value": self._fleet}]
        specifications = [{"ResourceType": "placement-group", "Tags": tags}]
        try:
            self._client.create_placement_group(GroupName=name, Strategy="spread", TagSpecifications=specifications)
        except ClientError as error:
            if error.response["Error"]["Code"] != "InvalidPlacementGroup.Duplicate":
                raise
        return name

    def _drop_placement(self, group: str) -> None:
        """Drop the placement group of a group whose last machine is gone."""
        filters = [
            {"Name": "group-name", "Values": [self._placement(group)]},
            {"Name": f"tag:{FLEET_TAG}", "Values": [self._fleet]},
        ]
        if not self._client.describe_placement_groups(Filters=filters)["PlacementGroups"]:
            return
        if any(_tags(one).get(GROUP_TAG) == group for one in self._find()):
            return
        try:
            self._client.delete_placement_group(GroupName=self._placement(group))
        except ClientError as error:
            # Somebody else put a machine into it, or dropped it.
            if error.response["Error"]["Code"] not in ("InvalidPlacementGroup.InUse", "InvalidPlacementGroup.Unknown"):
                raise

    def _read(self, one: Instance) -> Machine:
        tags = _tags(one)
        name = tags.get(_NAME_TAG, "").removeprefix(f"{self._fleet}-")
        return Machine(str(one["InstanceId"]), name, tags.get(KEY_TAG, ""), str(one.get("PrivateIpAddress") or ""))


def _tags(one: Instance) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in one.get("Tags") or []}


@contextmanager
def _telling(what: str) -> Iterator[None]:
    """Raise an error of EC2 as one that tells what failed. Its message has no secret: it names codes and ids."""
    try:
        yield
    except ClientError as error:
        said = error.response["Error"]
        raise AirfleetError(f"EC2 failed to {what}: {said['Code']}: {said.get('Message', '')}") from None
    except BotoCoreError as error:
        hint = "`aws sts get-caller-identity` shows whether the login works; `machines.ec2.region` names the region"
        raise AirfleetError(f"EC2 failed to {what}: {error}", hint=hint) from None
