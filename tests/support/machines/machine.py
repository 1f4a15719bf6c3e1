"""One machine: run things on it, read its logs, and do to it what happens to machines."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from machines import groups
from machines.layout import Layout, Seat, render_boot
from machines.system import PATIENCE_S, MachineError, run, start, wait, write

_PLUG = "machine-filled"


@dataclass(frozen=True)
class Machine:
    """A Debian machine of a bed, on or off."""

    layout: Layout
    seat: Seat

    @property
    def name(self) -> str:
        return self.seat.name

    @property
    def address(self) -> str:
        return self.seat.address

    @property
    def root(self) -> Path:
        """The machine's root folder on this box."""
        return self.layout.folder_of(self.seat) / "root"

    @property
    def group(self) -> Path:
        return groups.group_of(self.layout.bed, self.name)

    def run(
        self, command: str, *, check: bool = True, text: str | None = None, timeout_s: float = PATIENCE_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command over SSH, as the user with sudo; MachineError when it fails."""
        argv = ["ssh", "-F", str(self.layout.ssh_config), self.name, command]
        done = subprocess.run(argv, input=text or "", capture_output=True, text=True, check=False, timeout=timeout_s)
        if check and done.returncode:
            raise MachineError(
                f"{self.name}: {command}: exit code {done.returncode}: {(done.stderr or done.stdout)[-2000:]}"
            )
        return done

    def console(self, command: str, *, check: bool = True, timeout_s: float = PATIENCE_S) -> str:
        """Run a shell command as root without the network, as if at the machine's own screen."""
        enter = ("nsenter", "--target", str(self.find_init()), "--all", "--wdns=/")
        return run(*enter, "sh", "-c", command, check=check, timeout_s=timeout_s)

    def find_init(self) -> int:
        """The pid, on this box, of the machine's first process; MachineError while it is off."""
        scope = self.group / "payload" / "init.scope" / "cgroup.procs"
        with contextlib.suppress(OSError):
            if pids := scope.read_text().split():
                return int(pids[0])
        raise MachineError(f"{self.name} is off")

    def is_on(self) -> bool:
        power = self.group.with_name(f"{self.name}.power")
        return any(one.exists() and groups.members(one) for one in (self.group, power))

    def is_ready(self) -> bool:
        """Return whether the machine answers over SSH and has finished its boot."""
        try:
            with socket.create_connection((self.address, 22), timeout=1):
                pass
            said = self.run("systemctl is-system-running", check=False, timeout_s=15).stdout.strip()
        except (OSError, subprocess.TimeoutExpired):
            return False
        return said in ("running", "degraded")

    def wait_ready(self, timeout_s: float = PATIENCE_S) -> None:
        try:
            # To ask over SSH takes a login here and there, and both cores are needed for the boot.
            wait(self.is_ready, f"{self.name} answers over SSH and has booted", timeout_s, every_s=0.2)
        except MachineError as error:
            raise MachineError(f"{error}\n{self.read_console()[-2000:]}") from None

    def power_on(self) -> None:
        """Boot a machine that is off; `wait_ready` says when it has."""
        if self.is_on():
            return
        folder = self.layout.folder_of(self.seat)
        write(folder / "boot", render_boot(self.layout, self.seat, groups.make_groups(self.layout.bed, self.name)))
        power = groups.make_groups(self.layout.bed, f"{self.name}.power")[0]
        enter = f"echo $$ > {shlex.quote(str(power / 'cgroup.procs'))} && exec sh {shlex.quote(str(folder / 'boot'))}"
        start(enter, log=folder / "console.log")
        wait(self.is_on, f"{self.name} begins to boot")

    def reboot(self, timeout_s: float = PATIENCE_S) -> None:
        """Shut the machine down in order and boot it; return when it is ready again."""
        before = self.find_init()
        self.console("systemctl reboot", check=False)
        wait(lambda: self.is_rebooted(before), f"{self.name} goes down for its reboot", timeout_s)
        self.wait_ready(timeout_s)

    def is_rebooted(self, before: int) -> bool:
        """Return whether the machine's first process is another one than before."""
        try:
            return self.find_init() != before
        except MachineError:
            return False

    def pull_plug(self) -> None:
        """Cut the power: all processes end at once, and the machine sends no further packet."""
        run("ip", "link", "set", self.seat.link, "down")
        groups.kill(self.group)
        groups.kill(self.group.with_name(f"{self.name}.power"))

    def freeze(self) -> None:
        """Freeze all processes. The kernel still answers for open connections."""
        groups.freeze(self.group, frozen=True)

    def thaw(self) -> None:
        groups.freeze(self.group, frozen=False)

    def fill_disk(self) -> None:
        """Fill the machine's disk completely."""
        plug = self.layout.folder_of(self.seat) / "disk" / _PLUG
        free = shutil.disk_usage(plug.parent).free
        run("fallocate", f"--length={free}", plug, check=False)
        run("dd", "if=/dev/zero", f"of={plug}", "bs=4k", "oflag=append", "conv=notrunc,fsync", check=False)

    def free_disk(self) -> None:
        (self.layout.folder_of(self.seat) / "disk" / _PLUG).unlink(missing_ok=True)

    def skew_clock(self, seconds: int) -> None:
        """Let services that start from now on see another time of day; the kernel has one clock for all."""
        library = self.root / "usr/local/lib/skew.so"
        if not library.exists():
            run("cc", "-shared", "-fPIC", "-O2", "-o", library, Path(__file__).with_name("skew.c"), "-ldl")
        drop_in = self.root / "etc/systemd/system.conf.d/skew.conf"
        if seconds:
            words = f'"LD_PRELOAD=/usr/local/lib/skew.so" "SKEW_SECONDS={seconds}"'
            write(drop_in, f"[Manager]\nDefaultEnvironment={words}\n")
        else:
            drop_in.unlink(missing_ok=True)
        self.console("systemctl daemon-reload")

    def read_logs(self, unit: str | None = None, lines: int = 1000) -> str:
        """Return the machine's journal, also if the machine is off."""
        only = ["--unit", unit] if unit else []
        return run(
            "journalctl", "--directory", self.root / "var/log/journal", "--no-pager", "--lines", str(lines), *only
        )

    def read_console(self) -> str:
        """Return the output of the machine's boots."""
        return (self.layout.folder_of(self.seat) / "console.log").read_text(errors="replace")
