"""The base image that every machine is a copy of: built once for a recipe, then only read."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from machines import carried, layout
from machines.carried import Carried
from machines.system import MachineError, find_home, locked, run, unmount_below

_KEPT_DAYS = 30
_INIT = """\
#!/bin/sh
# The limits of units work only if systemd may write the first version's trees, which nspawn mounts read-only.
for tree in cpu cpuacct cpu,cpuacct memory pids blkio; do
    [ -d "/sys/fs/cgroup/$tree" ] && mount -o remount,bind,rw "/sys/fs/cgroup/$tree" 2>/dev/null
done
exec /lib/systemd/systemd
"""
_SSHD = """\
HostKey /etc/ssh/ssh_host_ed25519_key
PasswordAuthentication no
PermitRootLogin no
"""
_SETUP = f"""\
set -e
useradd --create-home --shell /bin/bash {layout.USER}
install -d -m 700 -o {layout.USER} -g {layout.USER} /home/{layout.USER}/.ssh
systemctl --quiet mask console-getty.service getty.target systemd-udevd.service \\
    systemd-udev-trigger.service apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service
systemctl --quiet set-default multi-user.target
rm -f /etc/ssh/ssh_host_* /etc/machine-id /var/lib/dbus/machine-id /etc/hostname
update-ca-certificates >/dev/null 2>&1
mkdir -p /var/log/journal
apt-get clean
"""
_PLAIN_FILES = {
    "usr/local/sbin/machine-init": (_INIT, 0o755),
    "etc/ssh/sshd_config.d/machines.conf": (_SSHD, 0o644),
    "etc/default/locale": ("LANG=C.UTF-8\n", 0o644),
    f"etc/sudoers.d/{layout.USER}": (f"{layout.USER} ALL=(ALL) NOPASSWD: ALL\n", 0o440),
}


@dataclass(frozen=True)
class Recipe:
    """What an image is made of; `fetched` packages lie in apt's cache, ready to be installed without a download.

    `added` packages are installed in a copy of the image without them.
    """

    suite: str = "bookworm"
    packages: tuple[str, ...] = (
        "ca-certificates", "dbus", "iproute2", "iputils-ping", "kmod", "libpam-systemd", "nftables",
        "openssh-server", "procps", "python3", "sudo", "systemd", "systemd-sysv", "udev",
    )  # fmt: skip
    fetched: tuple[str, ...] = ()
    added: tuple[str, ...] = ()

    def digest(self, of_box: Carried) -> str:
        """Names the image: another recipe, or another configuration of this box, is another image."""
        own = {name: value for name, value in asdict(self).items() if name != "added" or value}
        made_of = [own, _SETUP, {name: text for name, (text, _) in _PLAIN_FILES.items()}, of_box.mirror]
        made_of.append({name: hashlib.sha256(content).hexdigest() for name, content in sorted(of_box.files.items())})
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]


def read_box(suite: str) -> Carried:
    """This box's mirror, keys, certificates and proxies."""
    apt = Path("/etc/apt")
    sources = [
        apt / "sources.list",
        *sorted(apt.glob("sources.list.d/*.sources")),
        *sorted(apt.glob("sources.list.d/*.list")),
    ]
    texts = [one.read_text() for one in sources if one.exists()]
    mirror = carried.pick_mirror(texts, suite)
    if not mirror:
        raise MachineError(f"apt's sources on this machine name no mirror of {suite}")
    kept = [
        *(one for one in sources if one.exists() and carried.pick_mirror([one.read_text()], suite)),
        *(one for folder in ("auth.conf.d", "keyrings", "trusted.gpg.d") for one in (apt / folder).glob("*")),
        *Path("/usr/local/share/ca-certificates").glob("*.crt"), Path("/etc/ssl/certs/ca-certificates.crt"),
    ]  # fmt: skip
    files = {str(one.relative_to("/")): one.read_bytes() for one in kept if one.is_file()}
    pip = shutil.which("pip") or shutil.which("pip3")
    made = {
        "etc/apt/apt.conf.d/90box": carried.pick_apt_options(run("apt-config", "dump")),
        "etc/pip.conf": carried.pick_pip_options(run(pip, "config", "list", check=False) if pip else ""),
        "etc/environment": carried.pick_environment(os.environ),
        "etc/resolv.conf": carried.pick_name_servers(
            one.read_text()
            for one in map(Path, ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"))
            if one.exists()
        ),
    }
    return Carried(mirror, {**files, **{name: text.encode() for name, text in made.items() if text}})


def ensure_image(recipe: Recipe | None = None) -> Path:
    """The root folder of the recipe's image, built first if it is not there; several callers build it once."""
    recipe = recipe or Recipe()
    of_box = read_box(recipe.suite)
    images = find_home() / "images"
    images.mkdir(parents=True, exist_ok=True, mode=0o700)
    image = images / recipe.digest(of_box)
    if image.exists():
        os.utime(image)
        return image
    _forget_old(images)
    with locked(images / f"{image.name}.lock"):
        if not image.exists():
            part = images / f".{image.name}.part"
            _discard(part)
            try:
                if recipe.added:
                    _add(ensure_image(replace(recipe, added=())), part, recipe.added)
                else:
                    _build(recipe, of_box, part)
                part.rename(image)
                os.utime(image)
            finally:
                _discard(part)
    return image


def _build(recipe: Recipe, of_box: Carried, root: Path) -> None:
    include = f"--include={','.join(recipe.packages)}"
    run("debootstrap", "--variant=minbase", include, recipe.suite, root, of_box.mirror, timeout_s=1500)
    (root / "etc/apt/sources.list").unlink(missing_ok=True)
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    bundle = "etc/ssl/certs/ca-certificates.crt"
    for name, content in of_box.files.items():
        _lay(root / name, content, 0o600 if name.startswith("etc/apt/auth.conf.d/") else 0o644)
    for name, (text, mode) in _PLAIN_FILES.items():
        _lay(root / name, text.encode(), mode)
    _enter(root, "/bin/sh", "-c", _SETUP)
    if bundle in of_box.files:
        _lay(root / bundle, of_box.files[bundle], 0o644)
    if recipe.fetched:
        _fetch(root, recipe.fetched)


def _add(image: Path, root: Path, packages: tuple[str, ...]) -> None:
    run("cp", "-a", image, root)
    _enter(root, "apt-get", "update", "--quiet=2", timeout_s=600)
    install = ("apt-get", "install", "--quiet=2", "--yes", "--no-install-recommends", *packages)
    _enter(root, "env", "DEBIAN_FRONTEND=noninteractive", *install, timeout_s=1500)
    _enter(root, "apt-get", "clean")


def _fetch(root: Path, packages: tuple[str, ...]) -> None:
    # Names do not resolve with a systemd-nspawn of its own network, and a chroot has this box's.
    _enter(root, "apt-get", "update", "--quiet=2", timeout_s=600)
    _enter(root, "apt-get", "install", "--quiet=2", "--yes", "--download-only", *packages, timeout_s=1500)


def _enter(root: Path, *command: str, timeout_s: float = 600) -> None:
    """Run a command in the image. This computer's folder for temporary files is not there."""
    run("chroot", root, "env", "--unset=TMPDIR", *command, timeout_s=timeout_s)


def _lay(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def _forget_old(images: Path) -> None:
    """Remove images that no bed was made from for a month, when no bed is there that could be older."""
    if any((find_home() / "beds").glob("*/bed.json")):
        return
    for image in images.glob("[0-9a-f]*"):
        if image.is_dir() and image.stat().st_mtime < time.time() - _KEPT_DAYS * 86400:
            _discard(image)
            image.with_name(f"{image.name}.lock").unlink(missing_ok=True)


def _discard(folder: Path) -> None:
    """Remove what a killed build left, its mounts first."""
    unmount_below(folder)
    shutil.rmtree(folder, ignore_errors=True)
