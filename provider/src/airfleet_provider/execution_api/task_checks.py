"""What the execution API checks for a task that wants a connection, a variable or an XCom (ADR 80)."""

from __future__ import annotations

from dataclasses import dataclass

from airfleet_provider.access.known_lists import KnownLists, RefusedReadError
from airfleet_provider.contract.task_lists import ListKind
from airfleet_provider.execution_api.routes import CallRoute


@dataclass(frozen=True, slots=True)
class ListChecks:
    """Checks by the lists of fleet.yaml, for the Dag of the task instance that a token names."""

    known: KnownLists

    def connection(self, name: str, instance: str) -> None:
        self.known.check(ListKind.CONNECTION, name, instance)

    def variable(self, name: str, instance: str) -> None:
        self.known.check(ListKind.VARIABLE, name, instance)

    def xcoms(self, dag: str, instance: str, *, writes: bool) -> None:
        self.known.check_xcoms(dag, instance, writes=writes)

    def allows(self, call: CallRoute, instance: str) -> bool:
        """Return whether the fast path may answer a call; Airflow's own code answers the others, with the reason."""
        if call.name not in ("pull", "push"):
            return True
        try:
            self.xcoms(call.words["dag_id"], instance, writes=call.name == "push")
        except RefusedReadError:
            return False
        return True
