"""Commands and files of this box, as root."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

# Seconds for what a machine does by itself, such as a boot, while others use this box's cores.
PATIENCE_S = 300.0


class MachineError(RuntimeError):
    """A command or file operation on this box failed. The message holds the output."""


def run(*argv: str | Path, text: str | None = None, check: bool = True, timeout_s: float = 600) -> str:
    """Return a command's stdout. Raises MachineError with its stderr if the command fails."""
    done = subprocess.run(
        [str(word) for word in argv], input=text, capture_output=True, text=True, check=False, timeout=timeout_s
    )
    if check and done.returncode:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise MachineError(f"{' '.join(str(word) for word in argv[:6])}: exit code {done.returncode}: {said}")
    return done.stdout


def start(script: str, log: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
    """Start a shell script in a session of its own that lives on when this process ends."""
    with (log or Path("/dev/null")).open("ab") as file:
        subprocess.run(
            ["setsid", "--fork", "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            check=True,
            cwd="/",
            env={**os.environ, **(environment or {})},
        )


def write(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    """Replace a file in one step, so that a kill leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content.encode() if isinstance(content, str) else content)
    part.rename(path)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that the kernel frees when this process dies, however it dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def wait(condition: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S, every_s: float = 0.02) -> None:
    """Ask every `every_s` seconds, and return once it is true. Raises MachineError with `what` at the deadline."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise MachineError(f"not within {timeout_s:g} s: {what}")
        time.sleep(every_s)


def find_home() -> Path:
    """Where images and beds are kept, outside every repository."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "airfleet-machines"


def unmount_below(folder: Path) -> None:
    """Unmount everything at or below a folder, the newest mount first."""
    inside = f"{folder}/"
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].replace("\\040", " ") for line in lines]
    for point in reversed([one for one in points if one == str(folder) or one.startswith(inside)]):
        run("umount", "--lazy", point, check=False)


@dataclass(frozen=True)
class Owner:
    """A process, identified so that a later process with the same pid is another one."""

    pid: int
    started: str

    @classmethod
    def current(cls) -> Owner:
        return cls(os.getpid(), _read_start(os.getpid()))

    def is_alive(self) -> bool:
        return _read_start(self.pid) == self.started


def _read_start(pid: int) -> str:
    """Return the boot's id and the process's start in ticks since that boot; empty if there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    if fields[0] in "ZX":
        return ""
    return f"{fields[19]}@{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}"
