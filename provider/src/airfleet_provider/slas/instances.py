"""Instances of rules and their transitions. An instance is one promise on one occasion, such as a day or a run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from airfleet_provider.contract.sla_rules import PromiseKind, PromiseState


@dataclass(frozen=True, slots=True, order=True)
class PromiseSubject:
    """A Dag, a task of a Dag, or an asset; the other names are empty."""

    dag_id: str = ""
    task_id: str = ""
    asset: str = ""

    def __str__(self) -> str:
        if self.asset:
            return f"asset {self.asset}"
        return f"{self.dag_id}.{self.task_id}" if self.task_id else self.dag_id


@dataclass(frozen=True, slots=True, order=True)
class InstanceKey:
    """The identity of an instance. `occasion` is a local day, a run id, or a moment."""

    rule: str
    kind: PromiseKind
    subject: PromiseSubject
    occasion: str

    @property
    def promise(self) -> tuple[str, PromiseKind, PromiseSubject]:
        """Return what all instances of one rule about one subject have in common."""
        return self.rule, self.kind, self.subject


@dataclass(frozen=True, slots=True)
class Instance:
    """The state of a promise on one occasion.

    `starts_at` is the moment from which runs and updates count. `fulfilled_at` is when the promised thing happened,
    which may be too late. `expected_at` is when it is expected to happen. `is_alerting` says that an alert is open
    because of this instance, and after the end of the instance that nothing has healed it yet.
    """

    key: InstanceKey
    state: PromiseState
    starts_at: datetime
    due_at: datetime
    changed_at: datetime
    run_id: str | None = None
    expected_at: datetime | None = None
    reason: str = ""
    fulfilled_at: datetime | None = None
    ended_at: datetime | None = None
    is_alerting: bool = False


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of an instance. Without `before` it is new; without `after` it is withdrawn, because nobody owes it."""

    before: Instance | None
    after: Instance | None

    @property
    def key(self) -> InstanceKey:
        """Return the identity of the instance."""
        return self._any.key

    @property
    def _any(self) -> Instance:
        instance = self.after or self.before
        if instance is None:
            raise ValueError("a transition has an instance before it, or one after it")
        return instance
