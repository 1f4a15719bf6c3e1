"""The driver `vsphere`: a vCenter makes the machines. `pyvmomi` comes with the extra `airfleet[vsphere]`."""

from __future__ import annotations

import base64
import json
import ssl
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from pyVim.connect import Disconnect, SmartConnect
from pyVmomi import vim, vmodl

from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.machines import vsphere_specs as specs
from airfleet.operations.machines.driver import FLEET_TAG, GROUP_TAG, KEY_TAG, Machine, UserData
from airfleet.spec.machines import MachineGroup, Vsphere

if TYPE_CHECKING:
    Vm: TypeAlias = vim.VirtualMachine
    Task: TypeAlias = vim.Task

USER, PASSWORD = "AIRFLEET_VSPHERE_USER", "AIRFLEET_VSPHERE_PASSWORD"
TASK_S, PAUSE_S = 1800.0, 1.0
CLONE, PAGE = "VirtualMachine.clone", 200


def open_driver(
    place: Vsphere, environment: Mapping[str, str], *, fleet: str, project: Path, user_data: UserData
) -> VsphereDriver:
    """Return the driver with the login of the environment.

    Raises:
        UsageError: The environment has no login.
    """
    import time  # noqa: PLC0415 - the only place with the real clock

    missing = [name for name in (USER, PASSWORD) if not environment.get(name)]
    if missing:
        what = f"the environment has no {' and no '.join(missing)}"
        raise UsageError(
            what, hint="set them to the login of a vCenter account; its rights are in docs/guides/machines.md"
        )
    login = (environment[USER], environment[PASSWORD])
    return VsphereDriver(place, login, fleet=fleet, project=project, user_data=user_data, sleep=time.sleep)


@dataclass(frozen=True)
class _Seen:
    """A virtual machine with the mark of this fleet. `key` is empty if the mark is not its own."""

    vm: Vm
    name: str
    key: str
    group: str
    address: str

    @property
    def machine(self) -> Machine:
        return Machine(self.vm._moId, self.name, self.key, self.address)


class VsphereDriver:
    """Clones of templates in one datacenter. Each method logs in anew, so a session that ended does no harm.

    A machine is marked in its configuration (`extraConfig`), in the same request that makes it. Nothing inside the
    machine can change these marks. The key is the machine's instance UUID too, which a vCenter gives to one machine
    only: a copy of a machine has the marks and another UUID, and is not taken for airfleet's.
    """

    takes_late = False

    def __init__(
        self,
        place: Vsphere,
        login: tuple[str, str],
        *,
        fleet: str,
        project: Path,
        user_data: UserData,
        sleep: Callable[[float], None],
    ) -> None:
        self._place = place
        self._login = login
        self._fleet = fleet
        self._project = project
        self._user_data = user_data
        self._sleep = sleep

    def list(self) -> tuple[Machine, ...]:
        """Return every machine with the tag of this fleet."""
        with self._connected("list machines") as content:
            return tuple(one.machine for one in self._find(content, self._datacenter(content)))

    def create(self, name: str, key: str, group: MachineGroup) -> Machine:
        """Make a machine, keep it apart from the others of its group, and switch it on."""
        with self._connected(f"make {name}") as content:
            datacenter = self._datacenter(content)
            seen = self._find_key(content, datacenter, key)
            if seen is None:
                self._clone(content, datacenter, name, key, group)
                seen = self._find_key(content, datacenter, key)
            if seen is None:
                raise AirfleetError(f"{name} was made, and it is not in {datacenter.name}")
            if group.apart:
                self._keep_apart(content, datacenter, group.name)
            if seen.vm.runtime.powerState != vim.VirtualMachinePowerState.poweredOn:
                if grown := specs.grow_disk(seen.vm, group):
                    self._wait(seen.vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[grown])))
                self._wait(seen.vm.PowerOnVM_Task())
            return seen.machine

    def list_unfinished(self) -> frozenset[str]:
        """Return the tasks of the vCenter that clone a machine: the marks of the copy show when they have ended."""
        states = [vim.TaskInfo.State.queued, vim.TaskInfo.State.running]
        with self._connected("list tasks") as content:
            tasks = content.taskManager.CreateCollectorForTasks(vim.TaskFilterSpec(state=states))
            try:
                found = []
                while page := tasks.ReadNextTasks(PAGE):
                    found += [info.key for info in page if info.descriptionId.startswith(CLONE)]
                return frozenset(found)
            finally:
                tasks.DestroyCollector()

    def destroy(self, machine: Machine) -> None:
        """Destroy a machine with its disks."""
        with self._connected(f"destroy {machine.id}") as content:
            datacenter = self._datacenter(content)
            vm = vim.VirtualMachine(machine.id, content.rootFolder._stub)
            try:
                seen = self._read(vm, vm.name, vm.config, vm.guest)
            except vmodl.fault.ManagedObjectNotFound:
                return
            if seen is None or seen.key != machine.key or not machine.key:
                raise AirfleetError(f"{machine.id} has other marks than the machine that airfleet made")
            if vm.runtime.powerState != vim.VirtualMachinePowerState.poweredOff:
                self._wait(vm.PowerOffVM_Task())
            self._wait(vm.Destroy_Task())
            self._keep_apart(content, datacenter, seen.group)

    @contextmanager
    def _connected(self, what: str) -> Iterator[vim.ServiceInstanceContent]:
        ca = str(self._project / self._place.ca) if self._place.ca else None
        try:
            instance = SmartConnect(
                host=self._place.server,
                port=self._place.port,
                user=self._login[0],
                pwd=self._login[1],
                sslContext=ssl.create_default_context(cafile=ca),
                httpConnectionTimeout=60,
            )
        except vim.fault.InvalidLogin:
            hint = f"{USER} and {PASSWORD} hold the login"
            raise AirfleetError("the vCenter refuses the login", where=self._place.server, hint=hint) from None
        except (OSError, vmodl.MethodFault) as error:
            hint = "`machines.vsphere` has `server`, `port` and `ca`"
            raise AirfleetError(f"no connection: {error}", where=self._place.server, hint=hint) from None
        try:
            yield instance.content
        except vmodl.MethodFault as error:
            said = error.msg or type(error).__name__.rpartition(".")[2]
            raise AirfleetError(f"the vCenter failed to {what}: {said}", where=self._place.server) from None
        except OSError as error:
            raise AirfleetError(f"the vCenter failed to {what}: {error}", where=self._place.server) from None
        finally:
            Disconnect(instance)

    def _datacenter(self, content: vim.ServiceInstanceContent) -> vim.Datacenter:
        return self._pick(content, content.rootFolder, vim.Datacenter, self._place.datacenter, "vsphere.datacenter")

    def _pick(
        self, content: vim.ServiceInstanceContent, root: vim.ManagedEntity, kind: type, name: str, setting: str
    ) -> vim.ManagedEntity:
        found = [one for one, said in specs.read_all(content, root, kind, ("name",)) if said["name"] == name]
        if len(found) != 1:
            what = f"{len(found) or 'no'} objects of the name {name}"
            raise AirfleetError(what, where=f"machines.{setting}", hint="write the name as the vSphere client shows it")
        return found[0]

    def _find(self, content: vim.ServiceInstanceContent, datacenter: vim.Datacenter) -> tuple[_Seen, ...]:
        paths = ("name", "config.extraConfig", "config.instanceUuid", "config.template", "guest.ipAddress")
        found = []
        for vm, said in specs.read_all(content, datacenter.vmFolder, vim.VirtualMachine, paths):
            marks = {one.key: str(one.value) for one in said.get("config.extraConfig") or ()}
            if marks.get(FLEET_TAG) == self._fleet and not said.get("config.template"):
                uuid_, address = str(said.get("config.instanceUuid")), said.get("guest.ipAddress")
                found.append(self._build(vm, str(said["name"]), marks, uuid_, str(address or "")))
        return tuple(found)

    def _find_key(self, content: vim.ServiceInstanceContent, datacenter: vim.Datacenter, key: str) -> _Seen | None:
        return next((one for one in self._find(content, datacenter) if one.key == key), None)

    def _read(self, vm: Vm, name: str, config: vim.vm.ConfigInfo, guest: vim.vm.GuestInfo) -> _Seen | None:
        if config is None or config.template:
            return None
        marks = {one.key: str(one.value) for one in config.extraConfig}
        if marks.get(FLEET_TAG) != self._fleet:
            return None
        return self._build(vm, name, marks, str(config.instanceUuid), str((guest and guest.ipAddress) or ""))

    def _build(self, vm: Vm, name: str, marks: Mapping[str, str], instance: str, address: str) -> _Seen:
        key = marks.get(KEY_TAG, "")
        is_own = instance.replace("-", "").lower() == key
        # An address of IPv6 alone is no address for airfleet.
        address = "" if ":" in address else address
        short = name.removeprefix(f"{self._fleet}-")
        return _Seen(vm, short, key if is_own else "", marks.get(GROUP_TAG, ""), address)

    def _clone(
        self,
        content: vim.ServiceInstanceContent,
        datacenter: vim.Datacenter,
        name: str,
        key: str,
        group: MachineGroup,
    ) -> None:
        where = f"groups.{group.name}"
        template = self._pick(content, datacenter.vmFolder, vim.VirtualMachine, group.image, f"{where}.image")
        cluster = self._pick(
            content, datacenter.hostFolder, vim.ClusterComputeResource, self._place.cluster, "vsphere.cluster"
        )
        location = vim.vm.RelocateSpec(pool=cluster.resourcePool)
        if store := group.storage or self._place.datastore:
            setting = f"{where}.storage" if group.storage else "vsphere.datastore"
            location.datastore = self._pick(content, datacenter.datastoreFolder, vim.Datastore, store, setting)
        specs.grow_disk(template, group)  # a template with a larger disk is refused before anything is made
        devices = []
        if group.network:
            network = self._pick(content, datacenter.networkFolder, vim.Network, group.network, f"{where}.network")
            devices.append(specs.connect_card(template, network))
        marks = {FLEET_TAG: self._fleet, KEY_TAG: key, GROUP_TAG: group.name}
        hello = json.dumps({"instance-id": key, "local-hostname": name})
        guest = {"guestinfo.metadata": hello, "guestinfo.userdata": self._user_data(name)}
        for one, text in guest.items():
            if text:
                marks |= {one: base64.b64encode(text.encode()).decode(), f"{one}.encoding": "base64"}
        config = vim.vm.ConfigSpec(
            numCPUs=group.cpus,
            memoryMB=group.memory >> 20,
            annotation=f"Made by airfleet for the fleet {self._fleet}: {name}.",
            instanceUuid=str(uuid.UUID(hex=key)),
            extraConfig=[vim.option.OptionValue(key=one, value=value) for one, value in marks.items()],
            deviceChange=devices,
        )
        spec = vim.vm.CloneSpec(location=location, config=config, powerOn=False, template=False)
        whole = f"{self._fleet}-{name}"
        try:
            self._wait(template.CloneVM_Task(folder=self._folder(content, datacenter, template), name=whole, spec=spec))
        except vim.fault.DuplicateName as error:
            # A request before an interruption may be making it still. Its marks can be read when it is made.
            self._await_former(content, datacenter, error.object, whole, key)

    def _folder(self, content: vim.ServiceInstanceContent, datacenter: vim.Datacenter, template: Vm) -> vim.Folder:
        if not self._place.folder:
            return template.parent or datacenter.vmFolder
        path = f"{datacenter.name}/vm/{self._place.folder.strip('/')}"
        found = content.searchIndex.FindByInventoryPath(path)
        if not isinstance(found, vim.Folder):
            hint = "make the folder; airfleet makes none"
            raise AirfleetError(f"no folder {path}", where="machines.vsphere.folder", hint=hint)
        return found

    def _await_former(
        self, content: vim.ServiceInstanceContent, datacenter: vim.Datacenter, vm: Vm, name: str, key: str
    ) -> None:
        waited = 0.0
        while self._find_key(content, datacenter, key) is None:
            if vm.config is not None or waited >= TASK_S:
                what = f"there is another machine {name}, which airfleet did not make for this fleet.yaml"
                raise AirfleetError(what, hint="rename it, or rename the group")
            self._sleep(PAUSE_S)
            waited += PAUSE_S

    def _keep_apart(self, content: vim.ServiceInstanceContent, datacenter: vim.Datacenter, group: str) -> None:
        """Make the rule that keeps the machines of a group on different hosts, or drop it if fewer than two are left.

        The rule is one of preference: with one host left, the machines run there together.
        """
        cluster = self._pick(
            content, datacenter.hostFolder, vim.ClusterComputeResource, self._place.cluster, "vsphere.cluster"
        )
        name = f"airfleet-{self._fleet}-{group}"
        members = [one.vm for one in self._find(content, datacenter) if one.group == group and one.key]
        former = next((one for one in cluster.configurationEx.rule if one.name == name), None)
        change = specs.change_rule(former, name, members)
        if change is not None:
            spec = vim.cluster.ConfigSpecEx(rulesSpec=[change])
            self._wait(cluster.ReconfigureComputeResource_Task(spec=spec, modify=True))

    def _wait(self, task: Task) -> None:
        """Return when a task of the vCenter has ended. Raises its fault, or AirfleetError if it takes too long."""
        waited = 0.0
        while task.info.state not in (vim.TaskInfo.State.success, vim.TaskInfo.State.error):
            if waited >= TASK_S:
                raise AirfleetError(f"{task.info.descriptionId} did not end within {TASK_S:g} s")
            self._sleep(PAUSE_S)
            waited += PAUSE_S
        if task.info.state == vim.TaskInfo.State.error:
            raise task.info.error
