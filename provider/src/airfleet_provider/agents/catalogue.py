"""The loops that the agents process runs, and what it serves for them. A new loop is one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airfleet_provider.agent_loops.lease import AgentsLease
from airfleet_provider.agent_loops.loop import Loop, LoopThread
from airfleet_provider.agent_loops.server import Route
from airfleet_provider.slas.loop import make_loop as make_sla_loop

# What a route may read: the loops of the process as they run, and its lease.
MakeRoutes = Callable[[Sequence[LoopThread], AgentsLease], Mapping[str, Route]]


@dataclass(frozen=True, slots=True)
class Work:
    """The loops of a process, and the function that makes the routes beside `/health` and `/ready`."""

    loops: Sequence[Loop]
    make_routes: MakeRoutes


def assemble(config: Mapping[str, Any]) -> Work:
    """Return the work that the configuration asks for."""
    return Work((make_sla_loop(config),), lambda threads, lease: {})
