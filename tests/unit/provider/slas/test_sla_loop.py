"""The loop of the SLA engine: what it reads from its configuration, and when it forgets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from airfleet_provider.contract.agents_config import AgentsKey
from airfleet_provider.contract.sla_rules import PromiseKind, SlaRule
from airfleet_provider.slas.loop import SlaLoop, make_loop


class Engine:
    """Records what the loop does with it."""

    is_new = False

    def __init__(self) -> None:
        self.done: list[str] = []

    def forget(self) -> None:
        self.done.append("forget")

    def evaluate(self, read: Any, write: Any) -> int:  # noqa: ANN401
        self.done.append("evaluate")
        return 0


def test_an_engine_forgets_when_another_may_have_worked() -> None:
    engine = Engine()
    loop = SlaLoop(engine)  # type: ignore[arg-type]
    for epoch in (4, 4, 6):
        context: Any = SimpleNamespace(epoch=epoch, read=None, write=None)
        loop.once(context)
    assert engine.done == ["forget", "evaluate", "evaluate", "forget", "evaluate"]


def test_rules_come_from_the_configuration_of_the_agents() -> None:
    rule = SlaRule("alive", PromiseKind.MUST_RUN, dag="marts", limit_s=60)
    busy = make_loop({AgentsKey.SLAS: {"rules": [rule.to_json()]}})
    idle = make_loop({})
    assert busy.every_s < idle.every_s
    assert busy.only_active
    assert busy.name == idle.name
