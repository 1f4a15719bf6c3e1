"""Tasks that the scheduler does not find when it queues tasks: they take no place of others either."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from airflow.models.taskinstance import TaskInstance
from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql

from airfleet_provider.compat.patches import held_tasks
from airfleet_provider.compat.patches.held_tasks import Held

HELD = Held(frozenset({("crm", "load")}), frozenset({"01a2263d-574d-7298-9b02-92f8a81959d4"}))


class Session:
    """Keeps the query that it gets."""

    query: Any = None

    def scalars(self, query: object) -> None:
        self.query = query


def ask(held: list[Held]) -> tuple[str, bool]:
    """Return the SQL of a query that ranks tasks like Airflow's, and whether the session was the scheduler's own."""
    session, used = Session(), []

    def queue(self: object, max_tis: int, session: Session) -> None:
        ranked = select(TaskInstance, func.row_number().over(order_by=TaskInstance.priority_weight).label("n"))
        inner = ranked.where(TaskInstance.state == "scheduled").subquery()
        outer = select(TaskInstance).select_from(inner).join(TaskInstance, TaskInstance.task_id == inner.c.task_id)
        used.append(session)
        session.scalars(outer)

    (patched,) = held_tasks._make(queue, lambda: held)
    patched(SimpleNamespace(), 16, session=session)
    text = session.query.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})
    return str(text), used[0] is session


def test_they_are_left_out_before_tasks_are_ranked() -> None:
    text, is_own = ask([HELD])
    condition = "(task_instance.dag_id, task_instance.task_id) NOT IN (SELECT"
    assert text.count(condition) == 2, "in the ranking subquery and outside"
    assert next(iter(HELD.exempt)).replace("-", "") in text.replace("-", "")
    assert not is_own


def test_nothing_changes_while_nothing_is_held() -> None:
    for held in ([], [Held(frozenset())]):
        text, is_own = ask(held)
        assert "NOT IN" not in text
        assert is_own
