"""The driver `libvirt` on libvirt's own test driver, beside the contract that test_drivers.py holds every driver to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest

from airfleet.errors import AirfleetError
from airfleet.operations.machines.driver import Machine
from airfleet.operations.machines.libvirt_xml import LibvirtMarks, write_domain
from hypervisors import IMAGE, Hypervisor, find_libvirt, run_hypervisor

if not find_libvirt():
    pytest.skip("no libvirt-python here: tools/libvirt installs it", allow_module_level=True)

import libvirt
from pycdlib import PyCdlib

FLEET = "demo"
KEY, OTHER_KEY = "0123456789abcdef" * 2, "fedcba9876543210" * 2
CHANGES = (
    (libvirt.virConnect, "defineXMLFlags"),
    (libvirt.virStoragePool, "createXML"),
    (libvirt.virStorageVol, "delete"),
    (libvirt.virDomain, "create"),
    (libvirt.virDomain, "destroy"),
    (libvirt.virDomain, "undefineFlags"),
    (Hypervisor, "keep"),
)


class StruckError(BaseException):
    """The process was killed here."""


@pytest.fixture
def hypervisor() -> Iterator[Hypervisor]:
    with run_hypervisor() as found:
        yield found


def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object], int], int]:
    """Return a function that does something until the n-th moment, and says how many there were."""
    state = {"moments": 0, "dies_at": 0}

    def tick() -> None:
        state["moments"] += 1
        if state["moments"] == state["dies_at"]:
            raise StruckError

    def wrap(owner: type, name: str) -> None:
        real = getattr(owner, name)

        def do(*words: Any) -> Any:  # noqa: ANN401 - whatever the library hands on
            tick()
            answer = real(*words)
            tick()
            return answer

        monkeypatch.setattr(owner, name, do)

    for owner, name in CHANGES:
        wrap(owner, name)

    def count(deed: Callable[[], object], dies_at: int = 0) -> int:
        state.update(moments=0, dies_at=dies_at)
        try:
            deed()
        except StruckError:
            assert dies_at
        state["dies_at"] = 0
        return state["moments"]

    return count


def read_disc(content: bytes) -> dict[str, str]:
    disc = PyCdlib()
    disc.open_fp(BytesIO(content))
    found = {}
    for name in ("user-data", "meta-data"):
        text = BytesIO()
        disc.get_file_from_iso_fp(text, joliet_path=f"/{name}")
        found[name] = text.getvalue().decode()
    assert disc.pvd.volume_identifier.decode().strip() == "cidata"
    disc.close()
    return found


def test_a_machine_has_its_size_its_disk_over_the_image_and_is_told_its_name(hypervisor: Hypervisor) -> None:
    made = hypervisor.open(FLEET).create("web1", KEY, hypervisor.group(1))
    domain = hypervisor.connection.lookupByUUIDString(made.id)
    assert (domain.name(), domain.maxMemory(), domain.maxVcpus()) == ("demo-web1", 8 << 20, 4)
    assert domain.isActive()
    assert made.address
    disk = hypervisor.pool.storageVolLookupByName(f"demo-web1-{KEY[:8]}.qcow2")
    assert disk.info()[1] == 10 << 30
    assert f"/default-pool/{IMAGE}" in disk.XMLDesc()
    [seed] = hypervisor.contents.values()
    said = read_disc(seed)
    assert said["user-data"] == "#cloud-config\n# web1\n"
    assert '"local-hostname": "web1"' in said["meta-data"]


@pytest.mark.parametrize("network", ["", "lan", "bridge:br0"])
def test_the_definition_for_a_real_hypervisor_is_valid_by_the_schema_of_libvirt(
    hypervisor: Hypervisor, network: str
) -> None:
    marks = LibvirtMarks(FLEET, KEY, "web1", "a <pool> & more")
    text = write_domain(marks, replace(hypervisor.group(1), network=network), "kvm")
    domain = hypervisor.connection.defineXMLFlags(text, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    assert "a &lt;pool&gt; &amp; more" in domain.XMLDesc()


def test_what_was_killed_at_any_change_is_ended_by_the_same_command(
    hypervisor: Hypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = watch(monkeypatch)
    driver, group, made = hypervisor.open(FLEET), hypervisor.group(1), list[Machine]()
    driver.create("web2", OTHER_KEY, group)
    others = hypervisor.list_volumes()

    def create() -> None:
        made.append(driver.create("web1", KEY, group))

    def destroy() -> None:
        driver.destroy(made[-1])

    creations = count(create, 0)
    assert len(hypervisor.list_volumes()) == 4
    destructions = count(destroy, 0)
    assert (creations, destructions) == (10, 8)
    for number in range(1, creations + 1):
        count(create, number)
        # Whatever is there belongs to a machine that is in the list.
        assert len(driver.list()) == 2 or hypervisor.list_volumes() == others
        create()
        assert (hypervisor.count(), len(hypervisor.list_volumes())) == (2, 4)
        destroy()
    for number in range(1, destructions + 1):
        create()
        count(destroy, number)
        assert len(driver.list()) == 2 or hypervisor.list_volumes() == others
        destroy()
        assert (hypervisor.count(), hypervisor.list_volumes()) == (1, others)


def test_a_copy_of_a_machine_has_no_key_and_stays(hypervisor: Hypervisor) -> None:
    driver = hypervisor.open(FLEET)
    made = driver.create("web1", KEY, hypervisor.group(1))
    text = hypervisor.connection.lookupByUUIDString(made.id).XMLDesc()
    copied = text.replace(made.id, OTHER_KEY).replace("demo-web1<", "copy<").replace("52:54:00", "52:54:01")
    hypervisor.connection.defineXML(copied)
    assert sorted(one.key for one in driver.list()) == ["", KEY]
    [copy] = [one for one in driver.list() if not one.key]
    with pytest.raises(AirfleetError, match="other tags"):
        driver.destroy(copy)
    driver.destroy(made)
    assert [one.id for one in driver.list()] == [copy.id]


def test_an_image_or_a_pool_that_is_not_there_is_named_and_so_is_a_stranger(hypervisor: Hypervisor) -> None:
    driver, group = hypervisor.open(FLEET), hypervisor.group(1)
    with pytest.raises(AirfleetError, match="the pool default-pool has no volume none"):
        driver.create("web1", KEY, replace(group, image="none"))
    driver.destroy(driver.list()[0])
    with pytest.raises(AirfleetError, match="libvirt failed to make web1"):
        driver.create("web1", KEY, replace(group, storage="none"))
    assert [one.name for one in driver.list()] == ["web1"]
