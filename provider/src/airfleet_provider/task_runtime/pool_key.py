"""The identity of a zygote."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PoolKey:
    """The Dag file that a zygote has loaded: one path in one version of one bundle."""

    bundle: str
    version: str | None
    path: str
