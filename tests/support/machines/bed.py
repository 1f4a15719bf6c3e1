"""A bed: some machines on a network of their own, made together and taken away together."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import select
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from machines import groups, layout
from machines.image import ensure_image
from machines.layout import Layout
from machines.machine import Machine
from machines.needs import why_not
from machines.system import PATIENCE_S, MachineError, Owner, find_home, locked, run, start, unmount_below, write

T = TypeVar("T")

_DISK = "16G"  # a sparse file: only what is written takes room
_INOTIFY_INSTANCES = 4096  # each machine's systemd takes a dozen from one count that all machines share


@dataclass(frozen=True)
class Bed:
    """Machines that know each other by name and reach package mirrors. Nothing else on the network reaches them."""

    layout: Layout
    owner: Owner | None = None

    @classmethod
    def create(
        cls,
        machines: int | Sequence[str],
        *,
        bed: str | None = None,
        keep: bool = False,
        image: Path | None = None,
        has_ipv6: bool = False,
    ) -> Bed:
        """Boot machines, named h1, h2 ... or as said; they end with this process unless they are to be kept.

        With `has_ipv6`, they know each other by addresses of IPv6.
        """
        names = tuple(f"h{n}" for n in range(1, machines + 1)) if isinstance(machines, int) else tuple(machines)
        bed = bed or secrets.token_hex(2)
        _check_names(bed, names)
        if reason := why_not():
            raise MachineError(f"no machines can run here: {reason}")
        image = image or ensure_image()
        made = _claim(bed, names, None if keep else Owner.current(), has_ipv6=has_ipv6)
        try:
            if not keep:
                made._watch()
            made._set_up(image)
        except BaseException:
            made.destroy()
            raise
        return made

    @classmethod
    def open(cls, bed: str) -> Bed:
        """Return a bed that another process made."""
        found = _read(find_home() / "beds" / bed)
        if found is None:
            raise MachineError(
                f"no bed {bed!r}; there are: {', '.join(one.layout.bed for one in find_beds()) or 'none'}"
            )
        return found

    @property
    def machines(self) -> tuple[Machine, ...]:
        return tuple(Machine(self.layout, seat) for seat in self.layout.seats)

    def __getitem__(self, name: str) -> Machine:
        found = next((one for one in self.machines if one.name == name), None)
        if found is None:
            raise MachineError(f"bed {self.layout.bed} has no machine {name!r}; it has {', '.join(self.layout.names)}")
        return found

    def __enter__(self) -> Bed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.destroy()

    def wait_ready(self, timeout_s: float = PATIENCE_S) -> None:
        """Return when every machine answers over SSH and has ended its boot."""
        _each(lambda one: one.wait_ready(timeout_s), self.machines)

    def partition(self, some: Iterable[str], others: Iterable[str]) -> None:
        """Drop every packet between two sides, both ways; this box still reaches both."""
        pairs = [(self[one].seat.link, self[other].seat.link) for one in some for other in others]
        both = ", ".join(f'"{a}" . "{b}", "{b}" . "{a}"' for a, b in pairs)
        run("nft", "add", "element", "bridge", self.layout.table, "cut", f"{{ {both} }}")

    def go_offline(self, *names: str) -> None:
        """Cut machines off from all but this bed: no package mirror, no name server."""
        addresses = ", ".join(self[name].seat.ipv4_address for name in names)
        run("nft", "add", "element", "ip", self.layout.table, "offline", f"{{ {addresses} }}")

    def heal(self) -> None:
        """Undo every partition, and let all out again."""
        run("nft", "flush", "set", "bridge", self.layout.table, "cut")
        run("nft", "flush", "set", "ip", self.layout.table, "offline")

    def destroy(self) -> None:
        """Remove everything with the bed's id. A part that is gone already is no error."""
        with locked(find_home() / "lock"):
            _destroy(self.layout)

    def _set_up(self, image: Path) -> None:
        paper = self.layout
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"bed {paper.bed}", "-f", paper.key)
        write(paper.ssh_config, layout.render_ssh_config(paper), 0o600)
        _make_network(paper)
        keys = _each(lambda one: _furnish(one, image), self.machines)
        write(paper.known_hosts, layout.render_known_hosts(paper, dict(zip(paper.names, keys, strict=True))), 0o600)
        _each(Machine.power_on, self.machines)

    def _watch(self) -> None:
        """Start a process that removes the bed after its owner has ended or was killed."""
        watcher = [sys.executable, "-m", "machines", "watch", self.layout.bed]
        start(f"exec {shlex.join(watcher)}", environment={"PYTHONPATH": str(Path(__file__).parents[1])})


def extend(bed: str, name: str) -> Bed:
    """Return a bed with a place for one more machine, which stays until it is destroyed. The bed is made if need be.

    A place that a former machine of this name had is the place of the new one. Interrupted at any line, it goes on.
    """
    _check_names(bed, (name,))
    if reason := why_not():
        raise MachineError(f"no machines can run here: {reason}")
    found = _read(find_home() / "beds" / bed) or _claim(bed, (name,), None)
    if name not in found.layout.names:
        names = (*found.layout.names, name)
        _check_names(bed, names)
        found = Bed(replace(found.layout, names=names))
        _record(found)
    _make_network(found.layout)
    return found


def _make_network(paper: Layout) -> None:
    """Make the bridge of a bed with its rules, where they are not yet."""
    if not Path(f"/sys/class/net/{paper.bridge}").exists():
        run("ip", "link", "add", paper.bridge, "type", "bridge")
    run("ip", "address", "replace", f"{paper.gateway}/24", "dev", paper.bridge)
    if paper.has_ipv6:
        run("ip", "address", "replace", f"{paper.gateway_ipv6}/64", "dev", paper.bridge, "nodad")
    run("ip", "link", "set", paper.bridge, "up")
    if paper.table not in run("nft", "list", "tables", "ip"):
        # All tables of one text come in one transaction.
        run("nft", "-f", "-", text=layout.render_rules(paper))
    Path("/run/dbus").mkdir(exist_ok=True)


def find_beds() -> tuple[Bed, ...]:
    """Return every bed on this box, also those whose owner is gone."""
    folders = sorted((find_home() / "beds").glob("*/bed.json"))
    return tuple(bed for one in folders if (bed := _read(one.parent)) is not None)


def clean_up() -> tuple[str, ...]:
    """Remove the beds whose owner is gone, and return their ids."""
    with locked(find_home() / "lock"):
        return _clean_up()


def watch(bed: str) -> None:
    """Return when the owner of a bed has ended and the bed is gone."""
    found = _read(find_home() / "beds" / bed)
    if found is None or found.owner is None:
        return
    with contextlib.suppress(ProcessLookupError), _pidfd(found.owner.pid) as ended:
        while found.owner.is_alive() and found.layout.folder.exists():
            ended(1.0)
    found.destroy()


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[Callable[[float], bool]]:
    """Return a function that waits up to some seconds for the end of a process."""
    descriptor = os.pidfd_open(pid)
    try:
        yield lambda seconds: bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def _claim(bed: str, names: tuple[str, ...], owner: Owner | None, *, has_ipv6: bool = False) -> Bed:
    """Record a bed before any part of it is made, so that every part can be found and removed."""
    beds = find_home() / "beds"
    with locked(find_home() / "lock"):
        _clean_up()
        if (beds / bed).exists():
            raise MachineError(f"bed {bed} is there already")
        if not find_beds():
            _open_way_out()
        net = layout.choose_net([one.layout.net for one in find_beds()], run("ip", "route", "show", "table", "all"))
        made = Bed(Layout(bed, net, names, beds / bed, has_ipv6), owner)
        (beds / bed).mkdir(parents=True, mode=0o700)
        _record(made)
        return made


def _record(bed: Bed) -> None:
    paper, owner = bed.layout, bed.owner
    said = {"bed": paper.bed, "net": paper.net, "names": paper.names, "has_ipv6": paper.has_ipv6}
    write(paper.folder / "bed.json", json.dumps({**said, "owner": [owner.pid, owner.started] if owner else None}))


def _read(folder: Path) -> Bed | None:
    try:
        said = json.loads((folder / "bed.json").read_text())
    except OSError:
        return None
    owner = Owner(*said["owner"]) if said["owner"] else None
    return Bed(Layout(said["bed"], said["net"], tuple(said["names"]), folder, said.get("has_ipv6", False)), owner)


def _furnish(machine: Machine, image: Path) -> str:
    """Make the disk of a machine with its own files; return its public SSH key."""
    root = machine.root
    make_disk(machine, image)
    write(root / "etc/hostname", f"{machine.name}\n")
    write(root / "etc/hosts", layout.render_hosts(machine.layout, machine.seat))
    write(root / "etc/machine-id", f"{secrets.token_hex(16)}\n")
    key = root / "etc/ssh/ssh_host_ed25519_key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", machine.name, "-f", key)
    user = next(
        line.split(":") for line in (root / "etc/passwd").read_text().splitlines() if line.startswith(layout.USER)
    )
    authorized = root / f"home/{layout.USER}/.ssh/authorized_keys"
    write(authorized, machine.layout.key.with_suffix(".pub").read_text(), 0o600)
    os.chown(authorized, int(user[2]), int(user[3]))
    return " ".join(key.with_suffix(".pub").read_text().split()[:2])


def make_disk(machine: Machine, image: Path) -> None:
    """Make the disk of a machine, and mount it over the image as the machine's root."""
    folder, root = machine.layout.folder_of(machine.seat), machine.root
    disk = folder / "disk"
    for one in (disk, root):
        one.mkdir(parents=True)
    run("truncate", f"--size={_DISK}", folder / "disk.img")
    run("mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard", folder / "disk.img")
    run("mount", "-o", "loop,discard", folder / "disk.img", disk)
    (disk / "upper").mkdir()
    (disk / "work").mkdir()
    options = f"lowerdir={image},upperdir={disk / 'upper'},workdir={disk / 'work'}"
    run("mount", "-t", "overlay", "overlay", "-o", options, root)


def _destroy(paper: Layout) -> None:
    groups.kill(groups.group_of(paper.bed, ""))
    for seat in paper.seats:
        run("ip", "link", "delete", seat.link, check=False)
        run("ip", "netns", "delete", seat.namespace, check=False)
    run("ip", "link", "delete", paper.bridge, check=False)
    run("nft", "delete", "table", "bridge", paper.table, check=False)
    run("nft", "delete", "table", "ip", paper.table, check=False)
    unmount_below(paper.folder)
    groups.remove_groups(paper.bed)
    shutil.rmtree(paper.folder, ignore_errors=True)
    if not find_beds():
        _close_way_out()


def _clean_up() -> tuple[str, ...]:
    gone = [one for one in find_beds() if one.owner is not None and not one.owner.is_alive()]
    for one in gone:
        _destroy(one.layout)
    for folder in (find_home() / "beds").glob("*"):
        if not (folder / "bed.json").exists():  # killed while it was being written down, or at the end of being removed
            shutil.rmtree(folder, ignore_errors=True)
    return tuple(one.layout.bed for one in gone)


def _open_way_out() -> None:
    forwarding, mark = Path("/proc/sys/net/ipv4/ip_forward"), find_home() / "forwarding-was-off"
    if forwarding.read_text().strip() == "0":
        mark.touch()
        forwarding.write_text("1")
    instances = Path("/proc/sys/fs/inotify/max_user_instances")
    if int(instances.read_text()) < _INOTIFY_INSTANCES:
        instances.write_text(str(_INOTIFY_INSTANCES))


def _close_way_out() -> None:
    mark = find_home() / "forwarding-was-off"
    if mark.exists():
        Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
        mark.unlink()


def _check_names(bed: str, names: tuple[str, ...]) -> None:
    if not re.fullmatch(r"[a-z0-9]{1,6}", bed):
        raise MachineError(
            f"{bed!r} is no name for a bed: one to six small letters and digits, as names of links are short"
        )
    if not names or len(names) > 99 or len(set(names)) < len(names):
        raise MachineError("a bed has 1 to 99 machines with a name each")
    for name in names:
        if not re.fullmatch(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?", name):
            raise MachineError(f"{name!r} is no name for a machine: small letters, digits and dashes, at most 32")


def _each(do: Callable[[Machine], T], machines: Sequence[Machine]) -> list[T]:
    """Do something on all machines at once. Raises the first error after all have ended."""
    with ThreadPoolExecutor(max_workers=max(4, len(machines))) as pool:
        return [one.result() for one in [pool.submit(do, machine) for machine in machines]]
