"""What libvirt is asked for, as its XML: https://libvirt.org/formatdomain.html, https://libvirt.org/formatstorage.html."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

from airfleet.spec.machines import MachineGroup

# The name of the element in which a machine keeps its tags.
NAMESPACE = "https://airfleet.dev/machine/1"
_BRIDGE = "bridge:"


@dataclass(frozen=True, slots=True)
class LibvirtMarks:
    """The tags of a machine, and the pool of its two volumes."""

    fleet: str
    key: str
    name: str
    pool: str

    @property
    def disk(self) -> str:
        return f"{self.fleet}-{self.name}-{self.key[:8]}.qcow2"

    @property
    def seed(self) -> str:
        return f"{self.fleet}-{self.name}-{self.key[:8]}-seed.iso"


def read_marks(text: str) -> LibvirtMarks:
    """Return the tags of a machine."""
    found = ElementTree.fromstring(text).attrib  # noqa: S314 - libvirt parsed it and wrote it
    return LibvirtMarks(*(found.get(name, "") for name in ("fleet", "key", "name", "pool")))


def write_domain(marks: LibvirtMarks, group: MachineGroup, kind: str) -> str:
    """Return the definition of a machine. `kind` is the type of domain, such as kvm."""
    domain = ElementTree.Element("domain", type=kind)
    _add(domain, "name", f"{marks.fleet}-{marks.name}")
    _add(domain, "uuid", marks.key)
    metadata = _add(domain, "metadata")
    values = {name: getattr(marks, name) for name in ("fleet", "key", "name", "pool")}
    ElementTree.SubElement(metadata, f"{{{NAMESPACE}}}machine", values)
    _add(domain, "memory", str(group.memory >> 10), unit="KiB")
    _add(domain, "vcpu", str(group.cpus))
    system = _add(domain, "os")
    _add(system, "type", "hvm")
    features = _add(domain, "features")
    _add(features, "acpi")
    if kind == "kvm":
        _add(domain, "cpu", mode="host-passthrough")
    _add(domain, "on_crash", "restart")
    devices = _add(domain, "devices")
    disk = _add(devices, "disk", type="volume", device="disk")
    _add(disk, "driver", name="qemu", type="qcow2")
    _add(disk, "source", pool=marks.pool, volume=marks.disk)
    _add(disk, "target", dev="vda", bus="virtio")
    seed = _add(devices, "disk", type="volume", device="cdrom")
    _add(seed, "driver", name="qemu", type="raw")
    _add(seed, "source", pool=marks.pool, volume=marks.seed)
    _add(seed, "target", dev="sda", bus="sata")
    _add(seed, "readonly")
    _write_network(devices, group.network)
    _add(_add(devices, "serial", type="pty"), "target", port="0")
    agent = _add(devices, "channel", type="unix")
    _add(agent, "target", type="virtio", name="org.qemu.guest_agent.0")
    rng = _add(devices, "rng", model="virtio")
    _add(rng, "backend", "/dev/urandom", model="random")
    return ElementTree.tostring(domain, encoding="unicode")


def _write_network(devices: ElementTree.Element, network: str) -> None:
    is_bridge = network.startswith(_BRIDGE)
    card = _add(devices, "interface", type="bridge" if is_bridge else "network")
    if is_bridge:
        _add(card, "source", bridge=network.removeprefix(_BRIDGE))
    else:
        _add(card, "source", network=network or "default")
    _add(card, "model", type="virtio")


def write_disk(name: str, size: int, base: str, base_xml: str) -> str:
    """Return the definition of a disk that holds what differs from its base. `base_xml` is that of the base."""
    volume = _volume(name, size, "qcow2")
    backing = _add(volume, "backingStore")
    _add(backing, "path", base)
    found = ElementTree.fromstring(base_xml).find("target/format")  # noqa: S314 - libvirt wrote it
    _add(backing, "format", type="raw" if found is None else found.get("type", "raw"))
    return ElementTree.tostring(volume, encoding="unicode")


def write_volume(name: str, size: int) -> str:
    """Return the definition of a volume of so many bytes."""
    return ElementTree.tostring(_volume(name, size, "raw"), encoding="unicode")


def _volume(name: str, size: int, kind: str) -> ElementTree.Element:
    volume = ElementTree.Element("volume")
    _add(volume, "name", name)
    _add(volume, "capacity", str(size), unit="bytes")
    if kind != "qcow2":
        _add(volume, "allocation", str(size), unit="bytes")
    _add(_add(volume, "target"), "format", type=kind)
    return volume


def _add(parent: ElementTree.Element, tag: str, text: str = "", /, **attributes: str) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, tag, attributes)
    child.text = text or None
    return child
