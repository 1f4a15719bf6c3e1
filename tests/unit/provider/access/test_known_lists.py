"""The lists of fleet.yaml in a process that answers tasks: how often the database is asked, and what an outage does."""

from __future__ import annotations

import pytest

from airfleet_provider.access.known_lists import KEPT_S, KnownLists, RefusedReadError
from airfleet_provider.contract.access_store import ListRights
from airfleet_provider.contract.task_lists import ListedDag, ListEntry, ListKind, TaskLists

DAGS = {one.id: one for one in (ListedDag("a", frozenset({"a"}), "a/x.py"), ListedDag("b", frozenset({"b"}), "b/x.py"))}
LISTS = TaskLists(
    connections={"db": ListEntry(("tag:a",))},
    variables={"key": ListEntry(("file:a/*",), triggers=True)},
    xcoms={"a": ListEntry()},
)


class AskedDatabase:
    """What the database says, and what it was asked."""

    def __init__(self, lists: TaskLists) -> None:
        self.now, self.lists = 0.0, lists
        self.asked: list[str] = []
        self.is_away = False

    def read(self) -> ListRights:
        self.asked.append("lists")
        if self.is_away:
            raise OSError("away")
        return ListRights(self.lists, DAGS)

    def find_dag(self, instance: str) -> str | None:
        self.asked.append(instance)
        return instance.partition(" ")[2] or None

    def open(self) -> KnownLists:
        return KnownLists(self.read, self.find_dag, lambda: self.now)


def test_what_is_on_no_list_asks_the_database_for_no_task() -> None:
    database = AskedDatabase(LISTS)
    known = database.open()
    for _ in range(3):
        known.check(ListKind.CONNECTION, "other", "1 b")
        known.check_xcoms("b", "1 b", writes=True)
    assert database.asked == ["lists"]


def test_a_task_is_looked_up_once_and_lists_every_three_seconds() -> None:
    database = AskedDatabase(LISTS)
    known = database.open()
    for _ in range(3):
        known.check(ListKind.CONNECTION, "db", "1 a")
        known.check_xcoms("a", "1 a", writes=True)
        with pytest.raises(
            RefusedReadError, match=r"Dag b may not use the connection 'db'.*airfleet access explain admin b"
        ):
            known.check(ListKind.CONNECTION, "db", "1 b")
        with pytest.raises(RefusedReadError, match="XComs of 'a'"):
            known.check_xcoms("a", "1 b", writes=False)
    assert database.asked == ["lists", "1 a", "1 b"]
    database.lists, database.now = TaskLists(connections={"db": ListEntry(("b",))}), KEPT_S
    known.check(ListKind.CONNECTION, "db", "1 b")
    with pytest.raises(RefusedReadError):
        known.check(ListKind.CONNECTION, "db", "1 a")


def test_in_an_outage_and_for_a_task_that_is_gone_nothing_is_granted() -> None:
    database = AskedDatabase(LISTS)
    known = database.open()
    with pytest.raises(RefusedReadError, match="does not exist"):
        known.check(ListKind.CONNECTION, "db", "1")
    database.now, database.is_away = KEPT_S, True
    for _ in range(3):
        with pytest.raises(OSError, match="away"):
            known.check(ListKind.CONNECTION, "other", "1 a")
    assert database.asked.count("lists") == 2


def test_a_name_of_a_task_cannot_write_a_second_line_into_a_log() -> None:
    with pytest.raises(RefusedReadError) as caught:
        AskedDatabase(LISTS).open().check(ListKind.CONNECTION, "db\nERROR all is lost", "1 b")
    assert "\n" not in str(caught.value)


def test_a_dag_file_may_what_one_of_its_dags_may_and_triggers_what_is_open_to_them() -> None:
    known = AskedDatabase(LISTS).open()
    known.check_file(ListKind.CONNECTION, "db", "a/x.py")
    known.check_file(ListKind.VARIABLE, "key", "a/new.py")
    known.check_trigger(ListKind.VARIABLE, "key")
    known.check_trigger(ListKind.CONNECTION, "other")
    known.check_xcoms_of_trigger("b")
    for refused in (
        lambda: known.check_file(ListKind.CONNECTION, "db", "b/x.py"),
        lambda: known.check_file(ListKind.CONNECTION, "db", "a/new.py"),
        lambda: known.check_trigger(ListKind.CONNECTION, "db"),
        lambda: known.check_trigger(ListKind.CONNECTION, "x/../db"),
        lambda: known.check_xcoms_of_trigger("a"),
    ):
        with pytest.raises(RefusedReadError):
            refused()
