"""Secrets in the steps of a rotation."""

from __future__ import annotations

from collections.abc import Iterator

from airfleet.spec.secrets import Rotating, Secret
from airfleet.workspace.rotation import RotatedSecret, RotationStep, advance, notice, present


def walk(*values: str) -> Iterator[Rotating]:
    """Return the secret that hosts get in each step of the rotation to the last of these values, set one by one."""
    entry: RotatedSecret | None = None
    for value in values:
        entry = notice(entry, Secret(value))
    assert entry is not None
    yield from show_steps(entry)


def show_steps(entry: RotatedSecret) -> Iterator[Rotating]:
    """Return the secret that hosts get in each step of a rotation, from the present step to the last."""
    yield present(entry)
    while entry.step is not RotationStep.SETTLED:
        entry = advance(entry, 0.0)
        yield present(entry)
