"""The loops of the exporter and its route, for the agents process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from airfleet_provider.agent_loops.hosts_file import HostsFile
from airfleet_provider.agent_loops.lease import AgentsLease
from airfleet_provider.agent_loops.loop import Context, Loop, LoopThread
from airfleet_provider.agent_loops.server import Route
from airfleet_provider.contract.agents_config import AgentsKey
from airfleet_provider.contract.breaker_rules import BreakerRule
from airfleet_provider.contract.service_limits import ServiceLimit, list_services
from airfleet_provider.exporter import dags, database, events, pooler, probes, state
from airfleet_provider.exporter.board import Board
from airfleet_provider.exporter.breaker_waits import BreakerWaits
from airfleet_provider.exporter.limits import LabelLimits
from airfleet_provider.exporter.probes import ProbedServer
from airfleet_provider.exporter.queues import Queues
from airfleet_provider.exporter.render import MetricsRoute, PlatformMetrics, name_loop
from airfleet_provider.exporter.state import Workers


class Exporter:
    """Reads at intervals, and shows the last facts to whoever asks."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """`config` is the configuration of the agents."""
        metrics: Mapping[str, Any] = config.get(AgentsKey.METRICS, {})
        rules = [BreakerRule.from_json(one) for one in config.get(AgentsKey.BREAKERS, {}).get("rules", ())]
        self.board = Board()
        self._limits = LabelLimits()
        self._version = str(metrics.get("version", ""))
        self._queues = Queues.of_json(metrics.get("queues", {}))
        limits = [ServiceLimit.from_json(one) for one in config.get(AgentsKey.LIMITS, {}).get("limits", ())]
        self._waits = BreakerWaits(list_services(rules, limits))
        self._probes = [ProbedServer.of_json(one) for one in metrics.get("probes", ())]
        self._hosts = HostsFile(config)
        self._backends = [str(one["name"]) for one in config.get(AgentsKey.OPENLINEAGE, {}).get("backends", ())]
        self._authorities: str | None = metrics.get("authorities")
        self._backups = Path(metrics["backups"]) if metrics.get("backups") else None
        # Through which the agents reach the database.
        self._pooled: Mapping[str, Any] | None = config[AgentsKey.DATABASE] if metrics.get("pooler") else None

    @property
    def loops(self) -> tuple[Loop, ...]:
        """Return the loops. None reads more often than Prometheus asks: every 15 s."""
        board, limits = self.board, self._limits
        facts = state.StateLoop(board, limits, self._queues, (), backends=self._backends)

        def read_state(context: Context) -> None:
            now = self._hosts.read(AgentsKey.METRICS)
            facts.learn([Workers.of_json(one) for one in now.get("workers", ())], now.get("hosts", {}))
            facts.once(context)

        work: tuple[tuple[str, float, Callable[[Context], None]], ...] = (
            (events.NAME, 15.0, events.EventsLoop(board, limits, self._queues, self._waits).once),
            (state.NAME, 15.0, read_state),
            (dags.NAME, 30.0, dags.Dags(board, limits).once),
            (database.NAME, 90.0, database.DatabaseLoop(board, limits, self._backups).once),
            (probes.NAME, 15.0, probes.Probes(board, self._probes, self._authorities).once),
        )
        if self._pooled:
            work = (*work, (pooler.NAME, 15.0, pooler.PoolerLoop(board, limits, self._pooled).once))
        return tuple(Loop(name_loop(name), every_s, once) for name, every_s, once in work)

    def make_routes(self, threads: Sequence[LoopThread], lease: AgentsLease) -> Mapping[str, Route]:
        """Return the route of the metrics."""
        collector = PlatformMetrics(self.board, self._limits, threads, lease, self._version)
        return {"/metrics": MetricsRoute(collector, self.board.clock)}
