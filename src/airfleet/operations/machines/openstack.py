"""The driver `openstack`: an OpenStack makes the machines. It takes the extra `airfleet[openstack]`."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import openstack
from keystoneauth1.exceptions import ClientException
from openstack.exceptions import (
    DuplicateResource,
    ForbiddenException,
    HttpException,
    NotFoundException,
    SDKException,
)

from airfleet.errors import AirfleetError
from airfleet.operations.machines.driver import FLEET_TAG, GROUP_TAG, KEY_TAG, Machine, UnsureError, UserData
from airfleet.operations.machines.openstack_flavors import Flavor, choose_flavor, describe_volume
from airfleet.spec.machines import GIB, MachineGroup, Openstack

if TYPE_CHECKING:
    from openstack.compute.v2.server import Server
    from openstack.connection import Connection

_GONE = ("DELETED", "SOFT_DELETED")
# One request may last so long, and a machine needs so long until it is gone.
REQUEST_S, GONE_S, PAUSE_S = 120, 600.0, 2.0
_LOGIN = "`openstack server list` shows whether the login of clouds.yaml or of the OS_ variables works"


def open_driver(settings: Openstack, *, fleet: str, user_data: UserData) -> OpenstackDriver:
    """Return the driver with the login of `clouds.yaml`, or of the `OS_` variables.

    Raises:
        AirfleetError: There is no such entry, or no login.
    """
    import time  # noqa: PLC0415 - the only place with the real clock

    more = {"region_name": settings.region} if settings.region else {}
    with _telling("find a login"):
        cloud = openstack.connect(cloud=settings.cloud or None, app_name="airfleet", api_timeout=REQUEST_S, **more)
    return OpenstackDriver(cloud, settings, fleet=fleet, user_data=user_data, clock=time.monotonic, sleep=time.sleep)


class OpenstackDriver:
    """Machines in one project and region. The tags are properties of a server, set in the request that makes it."""

    # Nova has no key of a request that could refuse a second one.
    takes_late = True

    def __init__(
        self,
        cloud: Connection,
        settings: Openstack,
        *,
        fleet: str,
        user_data: UserData,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._cloud = cloud
        self._settings = settings
        self._fleet = fleet
        self._user_data = user_data
        self._clock = clock
        self._sleep = sleep

    def list(self) -> tuple[Machine, ...]:
        """Return every machine with the tag of this fleet."""
        with _telling("list servers"):
            return tuple(self._read(one) for one in self._find())

    def list_unfinished(self) -> frozenset[str]:
        """Return nothing: a server shows in the list as soon as the request was taken."""
        return frozenset()

    def create(self, name: str, key: str, group: MachineGroup) -> Machine:
        """Make a machine."""
        with _telling(f"make {name}"):
            if not (found := self._find(key)):
                return self._read(self._cloud.compute.create_server(**self._describe(name, key, group)))
        if len(found) > 1:
            raise UnsureError(f"{found[0].id} and {found[1].id} have the same tag {KEY_TAG}")
        [server] = found
        # It is there, so a refusal does not say that there is none (`Driver.takes_late`).
        with _telling(f"start {name}", refusal=UnsureError):
            if server.status == "SHUTOFF" and not server.task_state:
                self._cloud.compute.start_server(server)
        return self._read(server)

    def destroy(self, machine: Machine) -> None:
        """Destroy a machine, and return when it is gone."""
        with _telling(f"destroy {machine.id}"):
            server = self._get(machine.id)
            if server is None:
                return
            tags = server.metadata or {}
            if (tags.get(FLEET_TAG), tags.get(KEY_TAG)) != (self._fleet, machine.key) or not machine.key:
                raise AirfleetError(f"{machine.id} has other tags than the machine that airfleet made")
            self._drop(server)
            self._drop_server_group(tags.get(GROUP_TAG, ""))

    def _drop(self, server: Server) -> None:
        end = self._clock() + GONE_S
        left: Server | None = server
        while left is not None:
            if left is server or (left.status == "ERROR" and not left.task_state):
                # A machine that is destroyed while it is made may fail first, and is then still there.
                self._cloud.compute.delete_server(server.id)
            if self._clock() >= end:
                why = f": {_find_trouble(left)}" if left.status == "ERROR" else ""
                raise AirfleetError(f"{server.id} is still there after {GONE_S:g} s{why}", hint="destroy it again")
            self._sleep(PAUSE_S)
            left = self._get(server.id)

    def _get(self, server_id: str) -> Server | None:
        """Return a server, or None if it is gone."""
        try:
            server = self._cloud.compute.get_server(server_id)
        except NotFoundException:
            return None
        return None if server.status in _GONE else server

    def _find(self, key: str = "") -> tuple[Server, ...]:
        """Return the servers of the fleet that are there, or the one with this key."""
        return tuple(
            one
            for one in self._cloud.compute.servers()
            if one.status not in _GONE
            and (tags := one.metadata or {}).get(FLEET_TAG) == self._fleet
            and (not key or tags.get(KEY_TAG) == key)
        )

    def _describe(self, name: str, key: str, group: MachineGroup) -> dict[str, Any]:
        flavor, image = self._choose_flavor(group), self._find_image(group)
        wanted: dict[str, Any] = {
            "name": f"{self._fleet}-{name}",
            "flavor_id": flavor.id,
            "image_id": image,
            "metadata": {FLEET_TAG: self._fleet, KEY_TAG: key, GROUP_TAG: group.name},
            "user_data": base64.b64encode(self._user_data(name).encode()).decode(),
            "networks": [{"uuid": self._find_network(group)}] if group.network else "auto",
        }
        if group.storage:
            wanted["block_device_mapping"] = [describe_volume(group, image)]
            del wanted["image_id"]
        if self._settings.security_groups:
            wanted["security_groups"] = [{"name": one} for one in self._settings.security_groups]
        if self._settings.zone:
            wanted["availability_zone"] = self._settings.zone
        if group.apart:
            wanted["scheduler_hints"] = {"group": self._have_server_group(group.name)}
        return wanted

    def _choose_flavor(self, group: MachineGroup) -> Flavor:
        there = (
            Flavor(one.id, one.name, one.vcpus, one.ram << 20, one.disk * GIB, frozenset(one.extra_specs or {}))
            for one in self._cloud.compute.flavors(details=True)
        )
        return choose_flavor(group, there)

    def _find_image(self, group: MachineGroup) -> str:
        return _find_id(self._cloud.image.find_image, "image", group.image, group)

    def _find_network(self, group: MachineGroup) -> str:
        return _find_id(self._cloud.network.find_network, "network", group.network, group)

    def _name_server_group(self, group: str) -> str:
        return f"airfleet-{self._fleet}-{group}"

    def _server_groups(self, group: str) -> tuple[Any, ...]:
        name = self._name_server_group(group)
        return tuple(one for one in self._cloud.compute.server_groups() if one.name == name)

    def _have_server_group(self, group: str) -> str:
        """Return the server group that keeps the machines of a group on different computers, as a preference."""
        if found := self._server_groups(group):
            return str(found[0].id)
        name = self._name_server_group(group)
        return str(self._cloud.compute.create_server_group(name=name, policy="soft-anti-affinity").id)

    def _drop_server_group(self, group: str) -> None:
        """Drop the server group of a group whose last machine is gone."""
        if any((one.metadata or {}).get(GROUP_TAG) == group for one in self._find()):
            return
        for one in self._server_groups(group):
            # Members that are not of this fleet are somebody's: then it stays.
            if not one.member_ids:
                self._cloud.compute.delete_server_group(one, ignore_missing=True)

    def _read(self, one: Server) -> Machine:
        tags = one.metadata or {}
        name = str(one.name or "").removeprefix(f"{self._fleet}-")
        trouble = _find_trouble(one) if one.status == "ERROR" else ""
        return Machine(str(one.id), name, tags.get(KEY_TAG, ""), _find_address(one), trouble)


def _find_id(find: Callable[..., Any], kind: str, wanted: str, group: MachineGroup) -> str:
    """Return the id of the image or network of a group, by its name or id.

    Raises:
        AirfleetError: There is none, or there are several: which one is meant is not guessed.
    """
    where, hint = f"machines.groups.{group.name}.{kind}", f"`openstack {kind} list` shows names and ids"
    try:
        return str(find(wanted, ignore_missing=False).id)
    except DuplicateResource:
        raise AirfleetError(f"several {kind}s {wanted}", where=where, hint=f"name its id: {hint}") from None
    except NotFoundException:
        raise AirfleetError(f"no {kind} {wanted}", where=where, hint=hint) from None


def _find_address(one: Server) -> str:
    """Return the first IPv4 address of a network of the machine, and not one that the cloud translates to it."""
    for network in (one.addresses or {}).values():
        for address in network:
            if address.get("version") == 4 and address.get("OS-EXT-IPS:type", "fixed") == "fixed":
                return str(address["addr"])
    return ""


def _find_trouble(one: Server) -> str:
    return str((one.fault or {}).get("message") or "OpenStack gives no reason")


@contextmanager
def _telling(what: str, refusal: type[AirfleetError] = AirfleetError) -> Iterator[None]:
    """Raise an error of OpenStack as one that tells what failed. Its message names requests and ids, and no secret.

    A request that was certainly not taken is a `refusal`.
    """
    try:
        yield
    except ForbiddenException as error:
        hint = "the account needs the role `member` in the project, and quota may be used up: docs/guides/machines.md"
        raise refusal(f"OpenStack failed to {what}: {_shorten(error)}", hint=hint) from None
    except HttpException as error:
        hint = _LOGIN if error.status_code == 401 else ""
        kind = refusal if error.status_code and error.status_code < 500 else UnsureError
        raise kind(f"OpenStack failed to {what}: {_shorten(error)}", hint=hint) from None
    except (SDKException, ClientException) as error:
        raise UnsureError(f"OpenStack failed to {what}: {error}", hint=_LOGIN) from None


def _shorten(error: HttpException) -> str:
    return str(error.details or error.message)
