"""What tells one zygote from another."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PoolKey:
    """What a warm process has loaded: one Dag file of one version of one bundle."""

    bundle: str
    version: str | None
    path: str
