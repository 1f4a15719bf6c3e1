"""Which tasks the scheduler holds back now, because a breaker that they need is not closed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airfleet_provider.breakers.coverage import Coverage
from airfleet_provider.breakers.kept_connection import KeptConnection
from airfleet_provider.breakers.limit_gate import LimitGate
from airfleet_provider.compat.calls import config, metadata_db
from airfleet_provider.compat.patches.held_tasks import Held, hold_tasks
from airfleet_provider.contract import breaker_rules, service_limits
from airfleet_provider.contract.breaker_rules import BreakerRule
from airfleet_provider.contract.statements import Statements

if TYPE_CHECKING:
    from airfleet_provider.breakers.stand_in import StandIn

log = logging.getLogger("airfleet")

SQL = Statements(__package__, "store")

# The states of breakers are read this often. A task that starts meanwhile asks for itself.
READ_EVERY_S = 1.0


@dataclass(slots=True)
class Gate:
    """Remembers which breakers are not closed. While all are closed, a call costs a look at the clock."""

    rules: Mapping[str, BreakerRule]
    # Opens a connection of psycopg2 in autocommit mode. The scheduler's own session must not suffer from an error here.
    connect: Callable[[], Any]
    clock: Callable[[], float] = time.monotonic
    connection: KeptConnection = field(init=False)
    coverage: Coverage = field(init=False)
    stand_in: StandIn = field(init=False)
    read_at: float = float("-inf")
    # The breakers that are not closed, each with the instances that it lets through.
    open_ones: Mapping[str, Collection[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.connection = KeptConnection(self.connect)
        self.coverage = Coverage(tuple(self.rules.values()), self.clock)
        # It needs the libraries of the agents, and tasks import this module too.
        from airfleet_provider.breakers.stand_in import StandIn  # noqa: PLC0415

        self.stand_in = StandIn(tuple(self.rules.values()), clock=self.clock)

    def find_held(self) -> Sequence[Held]:
        """Return the tasks to hold back; never raise. If the states cannot be read, no task is held."""
        now = self.clock()
        try:
            if now - self.read_at >= READ_EVERY_S:
                self.read_at = now
                if self.open_ones:
                    self._stand_in()
                read = self._query(SQL["list_gates"])
                self.open_ones = {name: ids for name, ids in read if name in self.rules}
            if not self.open_ones:
                return ()
            tasks = [(dag, task) for dag, task in self._query(SQL["list_scheduled"])]
            covered = self.coverage.find(tasks, self.open_ones, self._query)
        except Exception as error:
            log.warning("The states of breakers cannot be read: %s: %s", type(error).__name__, error)
            self.connection.drop()
            return ()
        return [Held(frozenset(covered[name]), frozenset(ids)) for name, ids in self.open_ones.items() if covered[name]]

    def _stand_in(self) -> None:
        """Move the breakers if no agents process is there to do it. An error changes nothing for the tasks."""
        try:
            self.stand_in.work(self.connection.open())
        except Exception as error:
            log.warning("The circuit breakers cannot be moved: %s: %s", type(error).__name__, error)
            self.connection.drop()

    def _query(self, statement: str, values: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        with self.connection.open().cursor() as cursor:
            cursor.execute(statement, values)
            found: Sequence[Sequence[Any]] = cursor.fetchall()
            return found


def start() -> None:
    """Let this process' scheduler hold tasks back, if fleet.yaml has breakers or limits."""
    rules = breaker_rules.parse(config.read_setting(breaker_rules.SECTION, breaker_rules.KEY))
    limits = service_limits.parse(config.read_setting(service_limits.SECTION, service_limits.KEY))
    breakers = Gate({rule.name: rule for rule in rules}, lambda: metadata_db.connect("airfleet breakers"))
    gate = LimitGate(limits, lambda: metadata_db.connect("airfleet limits"))

    def find_held() -> Sequence[Held]:
        kept = breakers.find_held() if rules else ()
        return [*kept, *gate.find_held(kept)] if limits else kept

    if rules or limits:
        hold_tasks(find_held)
