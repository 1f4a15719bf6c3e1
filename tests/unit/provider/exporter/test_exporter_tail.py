"""Each row of the end of a table is read once, although transactions end in another order than they began."""

from __future__ import annotations

import json

from airfleet_provider.exporter.tail import OVERLAP_S, Tail, compress, expand


def read(tail: Tail, visible: list[int], now: float) -> list[int]:
    """Read what the statements of the exporter read of a table with these rows."""
    late = [one for one in visible if any(first <= one <= last for first, last in tail.list_gaps())]
    fresh = [*late, *(one for one in visible if one > tail.top)]
    tail.note_read(fresh, now)
    return fresh


def test_a_row_that_is_committed_late_is_read_and_no_row_is_read_twice() -> None:
    tail = Tail(10)
    assert read(tail, [11, 13], 0) == [11, 13]
    assert read(tail, [11, 12, 13, 14], 10) == [12, 14]
    assert read(tail, [11, 12, 13, 14], 20) == []


def test_what_is_kept_does_not_grow() -> None:
    tail = Tail(0)
    for second in range(0, 1000, 10):
        read(tail, list(range(second, second + 10)), float(second))
    assert len(tail.seen) == 1
    assert tail.low > 900


def test_another_process_goes_on_where_one_stopped() -> None:
    tail = Tail(10)
    read(tail, [11, 12, 15], 0)
    other = Tail.of_json(json.loads(json.dumps(tail.to_json())))
    assert read(other, [11, 12, 13, 15, 16], 500) == [13, 16]


def test_a_table_that_got_no_row_for_long_is_read_on_from_its_end() -> None:
    tail = Tail(10)
    read(tail, [11], 0)
    read(tail, [], OVERLAP_S + 1)
    assert (tail.low, tail.seen) == (11, [])


def test_a_backlog_is_not_read_again_with_each_of_its_parts() -> None:
    tail = Tail(0)
    for part in range(100):
        tail.note_read(range(1 + 2000 * part, 1 + 2000 * (part + 1)), now=part / 10)
        assert tail.list_gaps() == []
    assert (tail.seen, tail.top) == ([[1, 200_000]], 200_000)


def test_a_gap_is_looked_at_until_its_time_is_over() -> None:
    tail = Tail(0)
    tail.note_read([1, 2, 6], 0)
    assert tail.list_gaps() == [[3, 5]]
    tail.note_read([4], 1)
    assert tail.list_gaps() == [[3, 3], [5, 5]]
    tail.note_read([], OVERLAP_S)
    assert (tail.low, tail.list_gaps()) == (6, [])


def test_ranges_are_what_they_came_from() -> None:
    assert compress({1, 2, 3, 7, 9, 10}) == [[1, 3], [7, 7], [9, 10]]
    assert expand([[1, 3], [7, 7]]) == {1, 2, 3, 7}
