"""Whether the memory of a host is so short that its processes stall for it.

A worker on such a host takes no tasks: each one more would make all of them slower, until the kernel kills some.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PRESSURE, MEMORY = Path("/proc/pressure/memory"), Path("/proc/meminfo")
# Per cent of the last ten seconds in which some process waited for memory (`some avg10`).
PRESSED, EASED = 20.0, 5.0
# Shares of the memory that can be given to new processes. A process that only its own limit slows down makes pressure,
# but leaves much available.
LEAST, ENOUGH = 0.10, 0.20


@dataclass(frozen=True, slots=True)
class MemoryPressure:
    """The pressure in per cent, and the share of the memory that is available."""

    pressure: float
    available: float


def is_short(memory: MemoryPressure | None, *, was_short: bool) -> bool:
    """Return whether memory is short. It is not where the kernel does not tell.

    Memory that was short must have eased clearly, so that the answer does not alternate.
    """
    if memory is None:
        return False
    if was_short:
        return memory.pressure >= EASED and memory.available < ENOUGH
    return memory.pressure >= PRESSED and memory.available < LEAST


def measure(pressure: Path = PRESSURE, memory: Path = MEMORY) -> MemoryPressure | None:
    """Return what the kernel says of this host, or None where it says nothing (no PSI, or switched off)."""
    with suppress(OSError, ValueError, LookupError, ZeroDivisionError):
        some = next(line for line in pressure.read_text().splitlines() if line.startswith("some "))
        average = dict(word.split("=") for word in some.split()[1:])["avg10"]
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in memory.read_text().splitlines() if ":" in line}
        return MemoryPressure(float(average), sizes["MemAvailable"] / sizes["MemTotal"])
    return None
