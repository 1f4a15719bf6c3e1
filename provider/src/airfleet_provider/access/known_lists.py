"""The lists of `access.tasks` in fleet.yaml, as a process that answers tasks knows them (ADR 80)."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.contract import access_store
from airfleet_provider.contract.access_store import ListRights
from airfleet_provider.contract.task_lists import ListDecision, ListedDag, ListKind
from airfleet_provider.contract.text import one_line
from airfleet_provider.processes.cache import Cache

# A new Dag, a new tag and a changed list are known after so many seconds.
KEPT_S = 3.0
Value = TypeVar("Value")
# A task instance has the same Dag for ever, so the Dags of so many are kept.
MOST_INSTANCES = 10_000

NOUNS = {ListKind.CONNECTION: "connection", ListKind.VARIABLE: "variable", ListKind.XCOM: "XComs of"}


class RefusedReadError(PermissionError):
    """A task may not use something; the message says what, why and what to look at."""


class KnownLists:
    """Reads lists and Dags from the database, at most once in KEPT_S seconds for all tasks.

    Methods raise what the database raises: without an answer, nothing is granted. Clients try again.
    """

    def __init__(
        self,
        read: Callable[[], ListRights],
        find_dag: Callable[[str], str | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find_dag = find_dag
        self._read = read
        self._cache = Cache(KEPT_S, clock, keeps_error=lambda _: True, ages_from_question=True)
        self._dags: OrderedDict[str, str] = OrderedDict()
        self._guard = threading.Lock()
        # What was decided by the lists that were read last.
        self._decided: tuple[ListRights, dict[Hashable, Any]] = (ListRights(), {})

    def check(self, kind: ListKind, name: str, instance: str) -> None:
        """Return if a task instance may use a connection or a variable.

        Raises:
            RefusedReadError: It may not.
        """
        known = self._get()
        if not known.lists or self._keep(known, (kind, name), lambda: _is_free(known, kind, name)):
            return
        dag = self._find(known, instance)
        decision = self._keep(known, (kind, name, dag.id), lambda: known.lists.decide(kind, name, (dag,)))
        _require(decision, f"a task of the Dag {dag.id}", kind, name, dag.id)

    def check_xcoms(self, owner: str, instance: str, *, writes: bool) -> None:
        """Return if a task instance may use the XComs of a Dag.

        Raises:
            RefusedReadError: It may not.
        """
        known = self._get()
        target = known.find_dag(owner)
        if not known.lists.xcoms or not self._keep(known, (owner,), lambda: bool(known.lists.find_xcoms(target))):
            return
        dag = self._find(known, instance)
        kept = (owner, dag.id, writes)
        decision = self._keep(known, kept, lambda: known.lists.decide_xcoms(target, dag, writes=writes))
        _require(decision, f"a task of the Dag {dag.id}", ListKind.XCOM, owner, dag.id)

    def check_file(self, kind: ListKind, name: str, file: str) -> None:
        """Return if the code of a Dag file, outside of a task, may use a connection or variable: if a Dag of it may.

        Raises:
            RefusedReadError: It may not.
        """
        known = self._get()
        if not _is_free(known, kind, name):
            dags = known.list_file(file)
            _require(known.lists.decide(kind, name, dags), f"code of the Dag file {file}", kind, name, dags[0].id)

    def check_trigger(self, kind: ListKind, name: str) -> None:
        """Return if triggers may use a connection or variable. Airflow does not say of which Dag a trigger is.

        Raises:
            RefusedReadError: They may not.
        """
        known = self._get()
        if _is_free(known, kind, name):
            return
        try:
            fitting = known.lists.find(kind, name)
        except ValueError as error:
            decision = ListDecision(False, str(error))
        else:
            shown = ", ".join(f"access.tasks.{kind}.{key}" for key in fitting)
            is_granted = any(one.triggers for one in fitting.values())
            decision = ListDecision(is_granted, f"{shown} has no `triggers: true`")
        _require(decision, "a trigger", kind, name, "")

    def check_xcoms_of_file(self, owner: str, file: str, *, writes: bool) -> None:
        """Return if the code of a Dag file may use the XComs of a Dag: if a Dag of the file may.

        Raises:
            RefusedReadError: It may not.
        """
        known = self._get()
        target = known.find_dag(owner)
        if known.lists.find_xcoms(target):
            decisions = [known.lists.decide_xcoms(target, one, writes=writes) for one in known.list_file(file)]
            decision = next((one for one in decisions if one.is_granted), decisions[0])
            _require(decision, f"code of the Dag file {file}", ListKind.XCOM, owner, "")

    def check_xcoms_of_trigger(self, owner: str) -> None:
        """Return if the XComs of a Dag are on no list, as nobody knows of which Dag a trigger is.

        Raises:
            RefusedReadError: They are on one.
        """
        known = self._get()
        if fitting := known.lists.find_xcoms(known.find_dag(owner)):
            why = f"access.tasks.xcoms.{next(iter(fitting))} keeps them for tasks"
            _require(ListDecision(False, why), "a trigger", ListKind.XCOM, owner, "")

    def _get(self) -> ListRights:
        return self._cache.get(None, self._read)

    def _keep(self, known: ListRights, key: Hashable, decide: Callable[[], Value]) -> Value:
        """Return what `decide` returns, of which the answer is kept until the lists are read again."""
        decided = self._decided
        if decided[0] is not known or len(decided[1]) > MOST_INSTANCES:
            decided = self._decided = (known, {})
        if key not in decided[1]:
            decided[1][key] = decide()
        found: Value = decided[1][key]
        return found

    def _find(self, known: ListRights, instance: str) -> ListedDag:
        with self._guard:
            dag = self._dags.get(instance)
        if dag is None:
            dag = self._find_dag(instance)
            if dag is None:
                raise RefusedReadError("the task instance of this token does not exist")
            with self._guard:
                self._dags[instance] = dag
                if len(self._dags) > MOST_INSTANCES:
                    self._dags.popitem(last=False)
        return known.find_dag(dag)


def _is_free(known: ListRights, kind: ListKind, name: str) -> bool:
    try:
        return not known.lists.find(kind, name)
    except ValueError:
        return False


def _require(decision: ListDecision, who: str, kind: ListKind, name: str, dag: str) -> None:
    if not decision.is_granted:
        what = f"{who} may not use the {NOUNS[kind]} {name!r}: {decision.why}"
        hint = f"airfleet access explain admin {dag}" if dag else "airfleet access list"
        raise RefusedReadError(one_line(f"{what} (fleet.yaml; see `{hint}`)", 1000))


def read_lists() -> ListRights:
    """Return what the database says now."""
    with metadata_db.open_snapshot() as query:
        return access_store.read_list_rights(query)


def find_dag_of(instance: str) -> str | None:
    """Return the Dag of a task instance, as the database says."""
    with metadata_db.open_snapshot() as query:
        return access_store.read_dag_of_task(query, instance)


def open_lists() -> KnownLists:
    """Return the lists of this Airflow's database."""
    return KnownLists(read_lists, find_dag_of)
