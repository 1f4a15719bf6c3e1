"""The operating systems that airfleet supports."""

from __future__ import annotations

from collections.abc import Mapping

from airfleet.components.host_model import System

# The keys are (ID, VERSION_ID) of /etc/os-release.
SYSTEMS: Mapping[tuple[str, str], System] = {
    ("debian", "12"): System("Debian 12", "python3.11", 15),
    ("debian", "13"): System("Debian 13", "python3.13", 17),
    ("ubuntu", "22.04"): System("Ubuntu 22.04", "python3.11", 14),
    ("ubuntu", "24.04"): System("Ubuntu 24.04", "python3.12", 16),
}
RED_HAT = frozenset({"rhel", "centos", "rocky", "almalinux", "fedora", "ol"})
ARCHITECTURES = frozenset({"x86_64", "aarch64"})


def explain(identity: str, version: str) -> tuple[str, str]:
    """Return the text and the hint of the error for a system that is not supported."""
    known = ", ".join(system.name for system in SYSTEMS.values())
    if identity in RED_HAT:
        return (
            f"{identity} {version} is not supported: airfleet knows Debian's packages and paths only",
            f"use one of {known}; missing for the RHEL family are dnf, its package names, SELinux labels and firewalld",
        )
    return (
        f"the operating system {f'{identity} {version}'.strip() or '(unnamed)'} is not supported",
        f"use one of {known}",
    )
