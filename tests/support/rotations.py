"""Secrets on their way from one value to another."""

from __future__ import annotations

from collections.abc import Iterator

from airfleet.spec.secrets import Rotating, Secret
from airfleet.workspace.rotation import RotatedSecret, RotationStep, advance, notice, present


def walk(*values: str) -> Iterator[Rotating]:
    """What hosts are given in each step of the rotation to the last of these values, noticed one after another."""
    entry: RotatedSecret | None = None
    for value in values:
        entry = notice(entry, Secret(value))
    assert entry is not None
    yield from show_steps(entry)


def show_steps(entry: RotatedSecret) -> Iterator[Rotating]:
    """What hosts are given from the present step of a rotation to its last."""
    yield present(entry)
    while entry.step is not RotationStep.SETTLED:
        entry = advance(entry, 0.0)
        yield present(entry)
