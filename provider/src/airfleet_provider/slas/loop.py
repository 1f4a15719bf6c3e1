"""The loop of the SLA engine in the agents process. It works where the agents hold their lease."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from airfleet_provider.agent_loops.loop import Context, Loop
from airfleet_provider.contract.agents_config import AgentsKey
from airfleet_provider.contract.sla_rules import SlaRule
from airfleet_provider.slas.agent import SlaEngine

NAME = "slas"
EVERY_S = 5.0
# Without rules, there is only the end of the promises of rules that were removed.
IDLE_EVERY_S = 60.0
# A statement of the first turn may take longer: it reads what later turns keep in memory.
FIRST_STATEMENT_S = 30.0


class SlaLoop:
    """One engine, which forgets what it knows when another process may have worked meanwhile."""

    def __init__(self, engine: SlaEngine) -> None:
        self._engine = engine
        self._epoch: int | None = None

    def once(self, context: Context) -> None:
        """Do one turn of the engine.

        Raises:
            psycopg.Error: The database does not answer.
            LeaseLostError: Another process is active. Nothing was changed.
        """
        if context.epoch != self._epoch:
            self._engine.forget()
            self._epoch = context.epoch
        read = partial(context.read, timeout_s=FIRST_STATEMENT_S) if self._engine.is_new else context.read
        self._engine.evaluate(read, context.write)


def make_loop(config: Mapping[str, Any]) -> Loop:
    """Return the loop that evaluates the rules of the agents' configuration."""
    rules = [SlaRule.from_json(one) for one in config.get(AgentsKey.SLAS, {}).get("rules", ())]
    return Loop(NAME, EVERY_S if rules else IDLE_EVERY_S, SlaLoop(SlaEngine(rules)).once)
