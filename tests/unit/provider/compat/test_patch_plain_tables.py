"""A table of Airflow's command line has the same bytes with the patch, in a pipe and in terminals of several widths."""

from __future__ import annotations

import io
import itertools
import random
from collections.abc import Iterator

import pytest
from airflow.cli import simple_table
from rich.table import Table

from airfleet_provider.compat.patches import plain_tables
from airfleet_provider.compat.patches.patch import undo

# Each kind of cell for which rich does something of its own.
TEXTS = (
    *("a", "None", "two words", " begins and ends with blanks  ", "", "   ", "x" * 60, "long words " * 9, "12:30"),
    *("Äpfel, é", "日本のダグ", "e\u0301", "\U0001f600", "[red]x[/red]", "[not a tag", ":smile:", "12:30:00"),
    *("a tab\there", "two\nlines", "\x1b[31mred\x1b[0m", "no\u00a0break", "zero\u200bwidth", "\\[x]"),
)
PLAIN = tuple(filter(plain_tables.is_plain, TEXTS))
WIDTHS = (1, 2, 7, 20, 79, 80, 132, 200)
Data = list[dict[str, str]]


@pytest.fixture(autouse=True)
def _patched() -> Iterator[None]:
    yield
    undo(plain_tables.PATCH)


def draw(data: Data, width: int | None, *, shows_header: bool = True, style: str | None = None) -> str:
    """Return what Airflow prints: to a terminal of this width, or without one into a pipe."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simple_table, "is_tty", lambda: width is not None)
        console = simple_table.AirflowConsole(
            shows_header, file=out, width=width, force_terminal=width is not None, style=style
        )
        console.print_as_table(data)
    return out.getvalue()


def compare(data: Data, width: int | None, *, shows_header: bool = True, style: str | None = None) -> None:
    before = draw(data, width, shows_header=shows_header, style=style)
    plain_tables.lay_out_tables()
    after = draw(data, width, shows_header=shows_header, style=style)
    undo(plain_tables.PATCH)
    assert after == before


def test_each_cell_is_drawn_as_rich_draws_it() -> None:
    for text, width in itertools.product(TEXTS, (1, 7, 80, None)):
        compare([{"name": text, "other": "x"}, {"name": "y", "other": text}], width)
        compare([{"name": text}], width)
        compare([{text: "x", "other": "y"}], width)


@pytest.mark.parametrize("texts", [PLAIN, TEXTS], ids=["plain", "any"])
def test_tables_of_many_cells_are_drawn_as_rich_draws_them(texts: tuple[str, ...]) -> None:
    chance = random.Random(34)
    for _ in range(150):
        names = [f"column {number}"[: chance.randint(1, 8)] + str(number) for number in range(chance.randint(1, 6))]
        data = [{name: chance.choice(texts) for name in names} for _ in range(chance.randint(0, 6))]
        compare(data, chance.choice((*WIDTHS, None)), shows_header=chance.random() < 0.8)


def test_rows_of_several_lengths_are_left_to_airflow() -> None:
    compare([{"a": "x", "b": "y"}, {"a": "x"}], 80)
    compare([{"a": "x"}, {"a": "x", "b": "y"}], 80)


def test_the_style_of_a_console_is_drawn() -> None:
    compare([{"a": "x", "b": "two words"}], 8, style="red")


def test_rich_measures_and_draws_no_row_of_plain_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = 0
    get_cells = Table._get_cells

    def count(*words: object) -> Iterator[object]:
        nonlocal drawn
        for cell in get_cells(*words):  # type: ignore[arg-type]
            drawn += 1
            yield cell

    monkeypatch.setattr(Table, "_get_cells", count)
    plain_tables.lay_out_tables()
    draw([{"dag_id": f"dag_{number}", "owner": "ann"} for number in range(100)], None)
    assert drawn < 20
