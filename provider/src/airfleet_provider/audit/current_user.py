"""The user whom FAB's own pages know. They have a session of their own, and no token names the user."""

from __future__ import annotations

from contextvars import ContextVar

# The list of the request; threads of the request have a copy of the context, which holds the same list.
_names: ContextVar[list[str] | None] = ContextVar("audit_names", default=None)


def collect() -> list[str]:
    """Return a list to which `note` adds the names of users in the current request."""
    names: list[str] = []
    _names.set(names)
    return names


def note(name: str) -> None:
    """Record who sends the current request, as FAB's pages found it."""
    names = _names.get()
    if names is not None and name:
        names.append(name)
