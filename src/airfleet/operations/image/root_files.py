"""Build an image as a root file system: a folder, or a tar file, that a machine with systemd boots from."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from airfleet.components.host_model import HostMachine, System
from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.image.contents import ImageContents, ImageStep
from airfleet.operations.image.kit import write_kit
from airfleet.runners.fleet.apply import debian_packages
from airfleet.runners.fleet.packaging import airflow_archive
from airfleet.runners.fleet.plan import steps
from airfleet.runners.fleet.plan.steps import Install
from airfleet.shell_script import render_script
from airfleet.workspace import file_lock

SUITES = {"Debian 12": "bookworm", "Debian 13": "trixie", "Ubuntu 22.04": "jammy", "Ubuntu 24.04": "noble"}
TARS = (".tar", ".tar.gz", ".tar.xz", ".tar.zst")
_SHIPPED = "packages of the system"
# Runs a program whose mounts nobody else sees, and which ends, with all that it started, when this process is killed.
# So no mount and no orphan is left in a folder that the next build removes.
_APART = (
    *("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"),
    *("--pid", "--fork", "--kill-child"),
)


@dataclass(frozen=True, slots=True)
class RootBase:
    """What a root file system starts from: a folder or tar file `given`, or packages of the `mirror`.

    `keyring` has the keys that sign the mirror's packages, if they are not those of the system.
    """

    given: Path | None = None
    mirror: str = ""
    keyring: Path | None = None


def check_output(output: Path, base: RootBase) -> None:
    """Check what a user asked for.

    Raises:
        UsageError: The output exists, or the base or the keyring does not, or the mirror has a login.
        AirfleetError: The user is not root, or a program is missing.
    """
    if output.exists():
        raise UsageError("it exists already", where=str(output), hint="name a new file or folder")
    if base.given is not None and not base.given.exists():
        raise UsageError("it does not exist", where=str(base.given), hint="name a folder or a tar file")
    if base.keyring is not None and not base.keyring.is_file():
        raise UsageError("it is no file", where=str(base.keyring), hint="name the keyring of the mirror")
    if urlsplit(base.mirror).username is not None:
        # The URL stays in the image, and so on every machine.
        raise UsageError("the URL of the mirror has a login", where="--mirror", hint="give apt the login elsewhere")
    if os.geteuid():
        raise AirfleetError("to build a root file system takes root", hint="sudo airfleet image build, or image recipe")
    needed = ["setpriv", "unshare", "chroot", "tar", *([] if base.given else ["debootstrap", "gpgv"])]
    if missing := [name for name in needed if not shutil.which(name)]:
        hint = "apt-get install debootstrap gpgv util-linux"
        raise AirfleetError(f"not installed here: {', '.join(missing)}", hint=hint)


def build_root(
    contents: ImageContents, output: Path, base: RootBase, tell: Callable[[str], None], *, cache: Path
) -> None:
    """Build the image. It has its name only when it is complete; what a killed build left, the next one removes.

    One image is built at a time.

    Raises:
        AirfleetError: A program fails, or packages cannot be fetched.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    with file_lock.wait_and_hold(cache.with_name("image.lock")):
        _build(contents, output, base, tell, cache)


def _build(contents: ImageContents, output: Path, base: RootBase, tell: Callable[[str], None], cache: Path) -> None:
    draft = output.with_name(f".{output.name}.part")
    _remove(draft)
    draft.mkdir(mode=0o700)
    try:
        root = draft / "root"
        tell("base: copying" if base.given else f"base: {SUITES[contents.system.name]} from its mirror")
        _make_base(contents.system, root, base)
        _furnish(contents, root, draft, tell, cache)
        made = draft / "root"
        if output.name.endswith(TARS):
            made = draft / output.name
            tell(f"packing {output.name}")
            _run("tar", "--numeric-owner", "--xattrs", "-C", str(root), "-caf", str(made), ".")
        _run("sync", "-f", str(made))
        made.rename(output)
    finally:
        _remove(draft)


def _furnish(contents: ImageContents, root: Path, work: Path, tell: Callable[[str], None], cache: Path) -> None:
    with tempfile.TemporaryDirectory(dir=work, prefix="kit-") as name:
        archives = {one.digest: airflow_archive.ensure(one, cache, tell) for one in contents.recipes}
        tell(f"fetching {len(contents.packages)} packages with what they need")
        # Packages that are there already are fetched where a newer version is: no image starts with old ones.
        wanted = tuple(sorted({*contents.packages, *list_installed(root)}))
        archives[_SHIPPED] = _ship(contents, root, wanted, Path(name) / "packages.tar", cache)
        install = ImageStep("install the packages of the system", steps.script(Install(wanted, _SHIPPED)), _SHIPPED)
        kit = Path(name) / "kit"
        write_kit(contents, kit, archives, install)
        tell("preparing")
        enter = render_script(__package__, "enter_root", ROOT=root, KIT=kit)
        _run(*_APART, "sh", "-c", enter)


def _ship(contents: ImageContents, root: Path, wanted: tuple[str, ...], tar: Path, cache: Path) -> Path:
    machine = HostMachine(contents.system, contents.arch, 0, 0, ())
    status = (root / debian_packages.STATUS.lstrip("/")).read_text()
    debs = debian_packages.fetch(machine, wanted, status, cache.with_name("packages"))
    with tarfile.open(tar, "w") as packed:
        for deb in debs:
            packed.add(deb, deb.name)
    return tar


def _make_base(system: System, root: Path, base: RootBase) -> None:
    if base.given is None:
        # By itself, debootstrap installs what nobody has signed where it finds no keys.
        checks = ["--force-check-gpg", *([f"--keyring={base.keyring}"] if base.keyring else [])]
        words = [*checks, "--variant=minbase", SUITES[system.name], str(root)]
        # debootstrap mounts /proc in the folder.
        _run(*_APART, "debootstrap", *words, *([base.mirror] if base.mirror else []))
    elif base.given.is_dir():
        _run("cp", "-a", "--reflink=auto", str(base.given), str(root))
    else:
        root.mkdir()
        # It is `/` of every machine, and the archive may not say its mode.
        root.chmod(0o755)
        # By itself, tar leaves out the capabilities of programs.
        _run("tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-C", str(root), "-xaf", str(base.given))


def read_base(base: RootBase) -> tuple[str, str]:
    """Return ID and VERSION_ID of the system that the image will have: that of the base, or of this machine."""
    given, name = base.given, "etc/os-release"
    if given is None:
        return debian_packages.read_system(debian_packages.OS_RELEASE.read_text())
    if given.is_dir():
        found = next((one for one in (given / "usr/lib/os-release", given / name) if one.is_file()), None)
        return debian_packages.read_system(found.read_text() if found else "")
    names = ["usr/lib/os-release", "./usr/lib/os-release"]
    # tar fails as it finds only one of the names.
    done = subprocess.run(["tar", "-xaOf", given, *names], capture_output=True, check=False)
    return debian_packages.read_system(done.stdout.decode(errors="replace"))


def list_installed(root: Path) -> Iterator[str]:
    """Yield the names of the packages that are installed in a root file system."""
    text = (root / debian_packages.STATUS.lstrip("/")).read_text()
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status", "").endswith(" ok installed"):
            yield fields["Package"]


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-5:]
        name = argv[len(_APART) if argv[: len(_APART)] == _APART else 0]
        keys = "apt-get install debian-archive-keyring, or ubuntu-keyring; or name the keys with --keyring"
        raise AirfleetError(
            f"{name} failed: {' / '.join(said) or done.returncode}",
            where="airfleet image build",
            hint=keys if "eyring" in " ".join(said) else "",
        )


def _remove(folder: Path) -> None:
    """Remove a draft.

    Raises:
        AirfleetError: Something is mounted in it, which would be emptied too.
    """
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    if inside := [one for one in mounted if one.startswith(f"{folder.absolute()}/")]:
        raise AirfleetError(f"{inside[0]} is mounted", where=str(folder), hint=f"umount {inside[0]}")
    if folder.exists():
        shutil.rmtree(folder)
