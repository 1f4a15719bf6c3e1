"""Which connections, variables and XComs tasks of a Dag may use, and the ways around a list."""

from __future__ import annotations

import pytest

from airfleet_provider.contract.task_lists import ListedDag, ListEntry, ListKind, TaskLists

LISTS = TaskLists(
    connections={"sales_*": ListEntry(("tag:a",)), "sales_eu": ListEntry(("eu_*",)), "*": ListEntry(("file:core/*",))},
    variables={"key": ListEntry((), triggers=True)},
    xcoms={"tag:a": ListEntry(("report",)), "hr_*": ListEntry()},
)
A, EU = ListedDag("one", frozenset({"a"}), "teams/a.py"), ListedDag("eu_1", frozenset({"b"}), "teams/b.py")
CORE, REPORT = ListedDag("two", frozenset(), "core/x.py"), ListedDag("report")


def may(kind: ListKind, name: str, dag: ListedDag, lists: TaskLists = LISTS) -> bool:
    return lists.decide(kind, name, (dag,)).is_granted


@pytest.mark.parametrize(
    ("name", "dags"),
    [("sales_eu", [A, EU, CORE]), ("sales_us", [A, CORE]), ("other", [CORE]), ("SALES_EU", [A, EU, CORE])],
)
def test_the_dags_of_all_entries_that_fit_may_use_a_connection(name: str, dags: list[ListedDag]) -> None:
    assert [one for one in (A, EU, CORE, REPORT) if may(ListKind.CONNECTION, name, one)] == dags


def test_without_an_entry_every_dag_may_use_everything() -> None:
    for name in ("x", "a/../b", "a%2Fb"):
        assert may(ListKind.CONNECTION, name, REPORT, TaskLists())
    assert may(ListKind.VARIABLE, "another", REPORT)


@pytest.mark.parametrize("name", ["KEY", "Key", "\u212aey"])
def test_another_case_of_letters_does_not_lead_around_a_list(name: str) -> None:
    """The environment's back end reads names in upper case; the Kelvin sign has the lower case of a K."""
    assert not may(ListKind.VARIABLE, name, A)


@pytest.mark.parametrize(
    "name", ["x/../key", "./key", "x//key", "/key", "key/", "%6Bey", "key?x", "key#x", "..\\key", "key\n", "key "]
)
def test_a_name_that_a_back_end_may_read_as_another_is_refused(name: str) -> None:
    assert not may(ListKind.VARIABLE, name, A)


@pytest.mark.parametrize("name", ["sales-db", "SALES-DB", "sales_db:3", "sales-db:latest"])
def test_what_a_back_end_reads_as_a_listed_name_is_on_the_list(name: str) -> None:
    """Azure's Key Vault has `-` for `_`, and Parameter Store gives a version of a value for what follows a colon."""
    lists = TaskLists(connections={"sales_db": ListEntry(("tag:a",))}, variables={"a-b": ListEntry(("tag:a",))})
    assert [may(ListKind.CONNECTION, name, one, lists) for one in (A, REPORT)] == [True, False]
    assert [may(ListKind.VARIABLE, "a_b", one, lists) for one in (A, REPORT)] == [True, False]


def test_an_entry_that_fits_a_name_as_it_is_goes_before_one_that_fits_another_reading() -> None:
    lists = TaskLists(connections={"a_db": ListEntry(("tag:a",)), "a-db": ListEntry(("report",))})
    assert [may(ListKind.CONNECTION, "a_db", one, lists) for one in (A, REPORT)] == [True, False]
    assert [may(ListKind.CONNECTION, "a-db", one, lists) for one in (A, REPORT)] == [False, True]


def test_plain_names_of_folders_and_dots_stay_possible() -> None:
    for name in ("team/db", "db.main", "v1.2/key", "..."):
        assert may(ListKind.VARIABLE, name, REPORT), name


def test_xcoms_on_a_list_are_read_by_the_dag_itself_and_the_named_ones_and_written_by_the_dag_itself() -> None:
    def can(owner: ListedDag, dag: ListedDag, *, writes: bool) -> bool:
        return LISTS.decide_xcoms(owner, dag, writes=writes).is_granted

    assert [can(A, one, writes=False) for one in (A, REPORT, EU)] == [True, True, False]
    assert [can(A, one, writes=True) for one in (A, REPORT, EU)] == [True, False, False]
    assert can(EU, A, writes=True), "no list names the XComs of this Dag"
    assert not can(ListedDag("hr_1"), REPORT, writes=False)
    gone = ListedDag("gone", is_known=False)
    assert (can(gone, EU, writes=False), can(gone, gone, writes=True)) == (False, True)


def test_a_dag_without_a_file_fits_no_pattern_of_files() -> None:
    assert not ListedDag("x").fits("file:*")
    assert A.fits("file:teams/*")
    assert not A.fits("file:team")


def test_lists_survive_the_database_and_say_what_changed() -> None:
    assert TaskLists.from_text(LISTS.to_text()) == LISTS
    assert TaskLists.from_text("{}") == TaskLists()
    before = TaskLists(connections={"*": ListEntry(("file:core/*",))}, xcoms={"hr_*": ListEntry(("x",))})
    assert list(LISTS.list_changes(before)) == [
        ("connections sales_*", "tag:a"),
        ("connections sales_eu", "eu_*"),
        ("variables key", "no Dag, and triggers"),
        ("xcoms hr_*", "no Dag (was x)"),
        ("xcoms tag:a", "report"),
    ]
    for text in ("[]", '{"connections": {"x": {}}}', '{"connections": 7}'):
        with pytest.raises(ValueError, match="these are no lists"):
            TaskLists.from_text(text)
