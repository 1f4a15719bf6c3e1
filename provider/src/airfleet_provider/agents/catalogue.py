"""The loops that the agents process runs, and what it serves for them. A new loop is one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airfleet_provider.agent_loops.lease import AgentsLease
from airfleet_provider.agent_loops.loop import Loop, LoopThread
from airfleet_provider.agent_loops.server import Handlers, Route
from airfleet_provider.audit.loop import make_loop as make_audit_loop
from airfleet_provider.breakers.loop import make_loop as make_breaker_loop
from airfleet_provider.exporter.loops import Exporter
from airfleet_provider.lineage_events.loop import make_loop as make_lineage_loop
from airfleet_provider.notifications import loops as notifications
from airfleet_provider.slas.loop import make_loop as make_sla_loop
from airfleet_provider.slots.loop import make_loop as make_slot_loop
from airfleet_provider.traces.loop import make_loop as make_trace_loop

# What a route may read: the loops of the process as they run, and its lease.
MakeRoutes = Callable[[Sequence[LoopThread], AgentsLease], Mapping[str, Route]]


@dataclass(frozen=True, slots=True)
class Work:
    """The loops of a process, the function that makes the routes beside `/health` and `/ready`, and the handlers."""

    loops: Sequence[Loop]
    make_routes: MakeRoutes
    handlers: Handlers


def assemble(config: Mapping[str, Any]) -> Work:
    """Return the work that the configuration asks for."""
    exporter = Exporter(config)
    loops = (
        *exporter.loops,
        *notifications.make_loops(config),
        make_sla_loop(config),
        make_breaker_loop(config),
        make_slot_loop(config),
        make_audit_loop(config),
        make_trace_loop(config),
        make_lineage_loop(config),
    )
    return Work(loops, exporter.make_routes, notifications.make_handlers(config))
