"""The driver `libvirt`: one hypervisor makes the machines. libvirt-python and pycdlib come with `airfleet[libvirt]`."""

from __future__ import annotations

import ipaddress
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeAlias

import libvirt
from pycdlib import PyCdlib

from airfleet.errors import AirfleetError
from airfleet.operations.machines import libvirt_xml
from airfleet.operations.machines.driver import Machine, UserData
from airfleet.operations.machines.libvirt_xml import LibvirtMarks
from airfleet.spec.machines import Libvirt, MachineGroup

if TYPE_CHECKING:
    # libvirt-python has no types.
    Connection: TypeAlias = Any
    Domain: TypeAlias = Any
    Volume: TypeAlias = Any

# Where an address may be known, in this order: leases of libvirt's own network, the guest agent, the computer's ARP.
_SOURCES = (
    libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE,
    libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT,
    libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP,
)
_UNDEFINE = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
_GONE = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_NO_STORAGE_VOL)
# The types of domains by the names of libvirt's drivers.
_TYPES = {"QEMU": "kvm", "TEST": "test"}


def open_driver(settings: Libvirt, *, fleet: str, user_data: UserData) -> LibvirtDriver:
    """Return the driver for the hypervisor that fleet.yaml names. It connects at each use."""
    # libvirt writes every error to stderr too, which `_telling` reports.
    libvirt.registerErrorHandler(lambda _, __: None, None)
    return LibvirtDriver(settings, fleet=fleet, user_data=user_data, upload=upload)


def upload(connection: Connection, volume: Volume, content: bytes) -> None:
    """Write the content of a volume."""
    stream = connection.newStream()
    volume.upload(stream, 0, len(content))
    stream.sendAll(lambda _, size, source: source.read(size), BytesIO(content))
    stream.finish()


class LibvirtDriver:
    """Machines of one hypervisor. The key of a machine is its UUID, so one key makes one machine.

    The definition of a machine comes first, with its tags and the names of its volumes, and goes last. So what a killed
    command left has an owner that `list` shows.
    """

    takes_late = False

    def __init__(
        self,
        settings: Libvirt,
        *,
        fleet: str,
        user_data: UserData,
        upload: Callable[[Connection, Volume, bytes], None],
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._user_data = user_data
        self._upload = upload

    def list(self) -> tuple[Machine, ...]:
        """Return every machine with the tag of this fleet."""
        with self._connected("list machines") as connection:
            found = [(domain, _read_marks(domain)) for domain in connection.listAllDomains(0)]
            return tuple(self._read(domain, marks) for domain, marks in found if marks.fleet == self._fleet)

    def list_unfinished(self) -> frozenset[str]:
        """Return nothing: a machine shows in the list as soon as it is defined."""
        return frozenset()

    def create(self, name: str, key: str, group: MachineGroup) -> Machine:
        """Make a machine."""
        marks = LibvirtMarks(self._fleet, key, name, group.storage or self._settings.pool)
        with self._connected(f"make {name}") as connection:
            domain = _find(connection, key) or self._define(connection, marks, group)
            if not domain.isActive():
                self._make_volumes(connection, marks, group)
                domain.create()
            return self._read(domain, _read_marks(domain))

    def destroy(self, machine: Machine) -> None:
        """Destroy a machine with its volumes, and return when it is gone."""
        with self._connected(f"destroy {machine.id}") as connection:
            domain = _find(connection, machine.id)
            if domain is None:
                return
            marks = _read_marks(domain)
            if not machine.key or (marks.fleet, _own_key(domain, marks)) != (self._fleet, machine.key):
                raise AirfleetError(f"{machine.id} has other tags than the machine that airfleet made")
            if domain.isActive():
                domain.destroy()
            pool = connection.storagePoolLookupByName(marks.pool)
            for volume in (marks.disk, marks.seed):
                with _unless_gone():
                    pool.storageVolLookupByName(volume).delete(0)
            domain.undefineFlags(_UNDEFINE)

    def _define(self, connection: Connection, marks: LibvirtMarks, group: MachineGroup) -> Domain:
        kind = _TYPES.get(connection.getType())
        if kind is None:
            raise AirfleetError(f"libvirt's {connection.getType()} is not supported", where="machines.libvirt.uri")
        # libvirt compares the text with its own schema.
        return connection.defineXMLFlags(
            libvirt_xml.write_domain(marks, group, kind), libvirt.VIR_DOMAIN_DEFINE_VALIDATE
        )

    def _make_volumes(self, connection: Connection, marks: LibvirtMarks, group: MachineGroup) -> None:
        """Make the volumes that are missing. The one with the user-data is written anew: it may be half written."""
        pool = connection.storagePoolLookupByName(marks.pool)
        names = {volume.name() for volume in pool.listAllVolumes()}
        if group.image not in names:
            where, hint = f"machines.groups.{group.name}.image", "upload it: virsh vol-create-as, virsh vol-upload"
            raise AirfleetError(f"the pool {marks.pool} has no volume {group.image}", where=where, hint=hint)
        if marks.disk not in names:
            base = pool.storageVolLookupByName(group.image)
            pool.createXML(libvirt_xml.write_disk(marks.disk, group.disk, base.path(), base.XMLDesc(0)))
        if marks.seed in names:
            pool.storageVolLookupByName(marks.seed).delete(0)
        content = write_seed(marks, self._user_data(marks.name))
        self._upload(connection, pool.createXML(libvirt_xml.write_volume(marks.seed, len(content))), content)

    def _read(self, domain: Domain, marks: LibvirtMarks) -> Machine:
        return Machine(domain.UUIDString(), marks.name, _own_key(domain, marks), _find_address(domain))

    @contextmanager
    def _connected(self, what: str) -> Iterator[Connection]:
        """Raise an error of libvirt as one that tells what failed."""
        hint = f"virsh -c {self._settings.uri} list --all"
        try:
            connection = libvirt.open(self._settings.uri)
            try:
                yield connection
            finally:
                connection.close()
        except libvirt.libvirtError as error:
            raise AirfleetError(f"libvirt failed to {what}: {error}", hint=hint) from None


def write_seed(marks: LibvirtMarks, user_data: str) -> bytes:
    """Return a disc with the user-data, in the form that cloud-init's datasource NoCloud reads."""
    about = json.dumps({"instance-id": marks.key, "local-hostname": marks.name})
    disc = PyCdlib()
    disc.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident="cidata")
    for name, text in (("user-data", user_data), ("meta-data", about)):
        content = text.encode()
        short = name.replace("-", "").upper()
        disc.add_fp(BytesIO(content), len(content), f"/{short}.;1", rr_name=name, joliet_path=f"/{name}")
    made = BytesIO()
    disc.write_fp(made)
    disc.close()
    return made.getvalue()


def _find(connection: Connection, key: str) -> Domain | None:
    with _unless_gone():
        return connection.lookupByUUIDString(str(uuid.UUID(key)))
    return None


def _read_marks(domain: Domain) -> LibvirtMarks:
    try:
        text = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt_xml.NAMESPACE)
    except libvirt.libvirtError as error:
        if error.get_error_code() not in (libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_NO_DOMAIN):
            raise
        return LibvirtMarks("", "", "", "")
    return libvirt_xml.read_marks(text)


def _own_key(domain: Domain, marks: LibvirtMarks) -> str:
    """Return the key of a machine. A copy has the same marks and another UUID: it has no key."""
    return marks.key if domain.UUIDString().replace("-", "") == marks.key else ""


def _find_address(domain: Domain) -> str:
    for source in _SOURCES:
        try:
            found = domain.interfaceAddresses(source) if domain.isActive() else {}
        except libvirt.libvirtError:
            continue  # no lease, no agent in the machine, or a driver without this source
        for one in found.values():
            for entry in one["addrs"] or ():
                address = ipaddress.ip_address(entry["addr"])
                if address.version == 4 and not address.is_loopback:
                    return str(address)
    return ""


@contextmanager
def _unless_gone() -> Iterator[None]:
    try:
        yield
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _GONE:
            raise
