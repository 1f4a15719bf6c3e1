"""The source of a secret in fleet.yaml."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SecretRef:
    """The source of a secret, but not the secret itself. Exactly one of the three fields is set.

    Raises:
        ValueError: No field is set, or more than one.
    """

    env: str | None = None
    file: str | None = None
    command: str | tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if sum(bool(source) for source in (self.env, self.file, self.command)) != 1:
            raise ValueError("a SecretRef has exactly one of env, file and command")
