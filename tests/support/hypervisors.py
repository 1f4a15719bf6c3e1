"""libvirt's own test driver as what makes machines. Its machines never run, and are kept in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airfleet.spec.machines import GIB, Libvirt, MachineGroup

URI = "test:///default"
TOOLS = Path(__file__).parents[2] / ".tools" / "libvirt"
IMAGE = "debian-13"


def find_libvirt() -> bool:
    """Return whether libvirt-python is here: installed, or where tools/libvirt puts it."""
    if TOOLS.exists() and str(TOOLS) not in sys.path:
        sys.path.append(str(TOOLS))
    try:
        import libvirt  # noqa: F401, PLC0415 - it may be missing
        import pycdlib  # noqa: F401, PLC0415 - it may be missing
    except ImportError:
        return False
    return True


class Hypervisor:
    """A maker of machines. The test driver stores no content of volumes, so `contents` keeps what would be there."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 - libvirt-python has no types
        self.connection = connection
        self.contents: dict[str, bytes] = {}
        self.pool = connection.storagePoolLookupByName("default-pool")

    def open(self, fleet: str) -> Any:  # noqa: ANN401 - its module needs libvirt
        from airfleet.operations.machines.libvirt import LibvirtDriver  # noqa: PLC0415 - it may be missing

        settings = Libvirt(URI, "default-pool")
        return LibvirtDriver(
            settings, fleet=fleet, user_data=lambda name: f"#cloud-config\n# {name}\n", upload=self.keep
        )

    def keep(self, _: object, volume: Any, content: bytes) -> None:  # noqa: ANN401 - libvirt-python has no types
        self.contents[volume.name()] = content

    def group(self, count: int) -> MachineGroup:
        return MachineGroup("web", count, 4, 8 * GIB, 10 * GIB, IMAGE)

    def count(self) -> int:
        """Return how many machines are there beside the one that the test driver begins with."""
        return len(self.connection.listAllDomains(0)) - 1

    def give_addresses(self) -> None:
        pass

    def list_volumes(self) -> set[str]:
        return {volume.name() for volume in self.pool.listAllVolumes()} - {IMAGE}


@contextmanager
def run_hypervisor() -> Iterator[Hypervisor]:
    """Open the test driver with an image. All connections of a process share its state, so it is cleared at the end."""
    import libvirt  # noqa: PLC0415 - it may be missing

    libvirt.registerErrorHandler(lambda _, __: None, None)
    connection = libvirt.open(URI)
    try:
        made = Hypervisor(connection)
        made.pool.createXML(f"<volume><name>{IMAGE}</name><capacity>1000</capacity></volume>")
        yield made
    finally:
        _clear(connection)
        connection.close()


def _clear(connection: Any) -> None:  # noqa: ANN401 - libvirt-python has no types
    for domain in connection.listAllDomains(0):
        if domain.name() != "test":
            if domain.isActive():
                domain.destroy()
            domain.undefine()
    for volume in connection.storagePoolLookupByName("default-pool").listAllVolumes():
        volume.delete(0)
