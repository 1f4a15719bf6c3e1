"""A driver of machines for fleet.yaml: machines of this computer, made one at a time with cloud-init's user-data.

It keeps the contract of docs/guides/machines.md. One bed belongs to each fleet. A machine has an address in the answers
once it answers at its SSH port and cloud-init has ended.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import socket
from pathlib import Path
from typing import Any

from machines import bed as beds
from machines import groups
from machines.bed import Bed
from machines.image import Recipe, ensure_image
from machines.layout import Seat
from machines.machine import Machine
from machines.system import MachineError, find_home, locked, run, unmount_below, write

FLEET, KEY = "airfleet-fleet", "airfleet-key"
CONTRACT = 1
_NEEDED: dict[str, dict[str, type]] = {"list": {}, "create": {"machine": dict}, "destroy": {"id": str, "tags": dict}}
# An image by this name is the bed's own one, with cloud-init.
PLAIN = "debian-12"
_TAGS, _READY = "tags.json", "furnished"
_NO_NETWORK = "network: {config: disabled}\n"  # the bed gives the card its address, as a host of a cloud does not


def plain_recipe() -> Recipe:
    """Return the recipe of the image `debian-12`: as little as a machine needs whose login cloud-init makes."""
    return Recipe(added=("cloud-init",))


def read_request(text: str) -> dict[str, Any]:
    """Return a request of the contract. Raises MachineError if the text is none."""
    try:
        request = json.loads(text)
    except ValueError as error:
        raise MachineError(f"the request is not JSON: {error}") from None
    if not isinstance(request, dict) or request.get("contract") != CONTRACT:
        raise MachineError(f"this driver has the contract {CONTRACT}")
    action = request.get("action")
    if not isinstance(action, str) or action not in _NEEDED:
        raise MachineError(f"there is no action {action}")
    for name, kind in (("fleet", str), *_NEEDED[action].items()):
        if not isinstance(request.get(name), kind):
            raise MachineError(f"{action} needs `{name}` in the request")
    machine = request.get("machine", {})
    if action == "create" and not (
        all(isinstance(machine.get(name), str) for name in ("name", "image", "user_data"))
        and isinstance(machine.get("tags"), dict)
        and machine["tags"].get(KEY)
    ):
        raise MachineError(f"create needs `name`, `image`, `user_data` and the tag `{KEY}` of the machine")
    return request


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do what a request of `read_request` asks for. Raises MachineError if that cannot be done."""
    fleet = request["fleet"]
    with locked(find_home() / f"fleet-{name_bed(fleet)}.lock"):
        match request["action"]:
            case "list":
                return {"machines": list_machines(fleet)}
            case "create":
                return create(fleet, request["machine"])
            case _:
                return destroy(fleet, request["id"], request["tags"])


def name_bed(fleet: str) -> str:
    """Return the name of the bed of a fleet: names of links are short."""
    return f"f{hashlib.sha256(fleet.encode()).hexdigest()[:5]}"


def list_machines(fleet: str) -> list[dict[str, Any]]:
    """Return every machine of a fleet. One that a killed call left half made is among them: its tags came first."""
    bed = _find(fleet)
    return [_describe(one) for one in (bed.machines if bed else ()) if _read_tags(one).get(FLEET) == fleet]


def create(fleet: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """Make a machine, or do what is undone of the one with this key."""
    name, tags = wanted["name"], wanted["tags"]
    bed = _find(fleet)
    for one in bed.machines if bed else ():
        if _read_tags(one).get(KEY) == tags[KEY]:
            return _finish(one, wanted)
    if bed and name in bed.layout.names and _read_tags(bed[name]):
        raise MachineError(f"there is another machine {name}")
    image = find_image(wanted["image"])
    made = beds.extend(name_bed(fleet), name)
    write(_folder(made[name]) / _TAGS, json.dumps(tags))
    return _finish(made[name], wanted, image)


def destroy(fleet: str, name: str, tags: dict[str, str]) -> dict[str, Any]:
    """Remove a machine, and the bed with its last one."""
    bed = _find(fleet)
    there = _read_tags(bed[name]) if bed and name in bed.layout.names else {}
    if bed is None or not there:
        return {}
    if there != tags:
        raise MachineError(f"{name} has other tags")
    _clear(bed[name])
    if not any(_read_tags(one) for one in bed.machines):
        bed.destroy()
    return {}


def find_image(image: str) -> Path:
    """Return the root file system of an image: PLAIN, or the path of one that `airfleet image build` made."""
    if image == PLAIN:
        return ensure_image(plain_recipe())
    path = Path(image).absolute()
    if not (path / "usr").is_dir():
        raise MachineError(f"the image {image} is neither {PLAIN} nor a folder with a root file system")
    return path


def _find(fleet: str) -> Bed | None:
    with contextlib.suppress(MachineError):
        return Bed.open(name_bed(fleet))
    return None


def _folder(machine: Machine) -> Path:
    return machine.layout.folder_of(machine.seat)


def _read_tags(machine: Machine) -> dict[str, str]:
    try:
        tags: dict[str, str] = json.loads((_folder(machine) / _TAGS).read_text())
    except OSError:
        return {}
    return tags


def _finish(machine: Machine, wanted: dict[str, Any], image: Path | None = None) -> dict[str, Any]:
    folder = _folder(machine)
    if not (folder / _READY).exists():
        tags = (folder / _TAGS).read_text()
        _clear(machine)
        write(folder / _TAGS, tags)
        _furnish(machine, wanted, image or find_image(wanted["image"]))
        write(folder / _READY, "")
    machine.power_on()
    return _describe(machine)


def _furnish(machine: Machine, wanted: dict[str, Any], image: Path) -> None:
    root = machine.root
    beds.make_disk(machine, image)
    seed = root / "var/lib/cloud/seed/nocloud"
    write(root / "etc/hosts", f"127.0.0.1 localhost\n{machine.address} {machine.name}\n")
    write(root / "etc/cloud/cloud.cfg.d/99-bed.cfg", _NO_NETWORK)
    write(root / "etc/machine-id", "")
    write(seed / "meta-data", json.dumps({"instance-id": wanted["tags"][KEY], "local-hostname": machine.name}))
    write(seed / "user-data", wanted["user_data"], 0o600)


def _describe(machine: Machine) -> dict[str, Any]:
    address = machine.address if is_up(machine) else ""
    return {"id": machine.name, "name": machine.name, "address": address, "tags": _read_tags(machine)}


def is_up(machine: Machine) -> bool:
    """Return whether cloud-init has ended and the machine answers at its SSH port."""
    if not list(machine.root.glob("var/lib/cloud/instances/*/boot-finished")):
        return False
    with contextlib.suppress(OSError), socket.create_connection((machine.address, 22), timeout=1):
        return True
    return False


def _clear(machine: Machine) -> None:
    """End a machine and remove its disk. What is gone already is no error."""
    seat: Seat = machine.seat
    for name in (f"{seat.name}.power", seat.name):
        groups.kill(groups.group_of(seat.bed, name))
    run("ip", "link", "delete", seat.link, check=False)
    run("ip", "netns", "delete", seat.namespace, check=False)
    (_folder(machine) / _READY).unlink(missing_ok=True)
    unmount_below(_folder(machine))
    shutil.rmtree(_folder(machine), ignore_errors=True)
