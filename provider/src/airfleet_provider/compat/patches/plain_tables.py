"""Tables of Airflow's command line are laid out by columns and rows, and not by cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Digest, Has, Versions


def lay_out_tables() -> None:
    """Let a command of Airflow print a table in a twentieth of the time, with the same bytes.

    rich makes several objects of each cell, to measure it and again to draw it, because a cell may have colours, lines
    and other tables in it. A cell of most commands is one line of text without markup. Airflow's own way prints a table
    in which any cell is another one.
    """
    apply(PATCH)


def is_plain(text: str) -> bool:
    """Return whether rich prints this text as it is: no markup, no `:name:` of an emoji, no line break or control."""
    from rich.cells import cell_len  # noqa: PLC0415 - reading the registry imports no rich

    if "[" in text or text.count(":") > 1 or not text.isprintable():
        return False
    return text.isascii() or all(cell_len(one) == 1 for one in text)


def list_code() -> Sequence[Any]:
    """Return the code that must be as it was when the patch was written."""
    from airflow.cli.simple_table import AirflowConsole, SimpleTable  # noqa: PLC0415
    from rich._wrap import divide_line  # noqa: PLC0415
    from rich.padding import Padding  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    own = (AirflowConsole.__init__, AirflowConsole.print_as_table, SimpleTable)
    drawing = (Table._render, Table._get_cells, Table._measure_column, Table._calculate_column_widths)
    return (
        *own,
        *drawing,
        Padding.__rich_console__,
        Text.__rich_console__,
        Text.__rich_measure__,
        Text.wrap,
        divide_line,
    )


def _make(original: Callable[..., None]) -> Sequence[Any]:
    from airflow.cli.simple_table import SimpleTable  # noqa: PLC0415
    from rich._wrap import divide_line  # noqa: PLC0415
    from rich.segment import Segment  # noqa: PLC0415

    class PlainTable(SimpleTable):  # type: ignore[misc]
        """A table of plain cells, whose header, borders and widths are rich's own."""

        def _measure_column(self, console: Any, options: Any, column: Any) -> Any:  # noqa: ANN401 - rich's
            # rich takes the maxima over all cells: the longest cell has one, and that with the longest word the other.
            cells = {max(column._cells, key=key) for key in (len, _measure_word)}
            return super()._measure_column(console, options, replace(column, _cells=list(cells)))

        def _render(self, console: Any, options: Any, widths: list[int]) -> Iterator[Any]:  # noqa: ANN401
            inner = [width - self._get_padding_width(index) for index, width in enumerate(widths)]
            if min(inner) < 1:
                yield from super()._render(console, options, widths)
                return
            heading = SimpleTable(*(column.header for column in self.columns), show_header=self.show_header)
            yield from heading._render(console, options, widths)
            for row in zip(*(column._cells for column in self.columns), strict=True):
                cells = [
                    [text.ljust(width)] if len(text) <= width else wrap(text, width)
                    for text, width in zip(row, inner, strict=True)
                ]
                height = max(map(len, cells))
                for number in range(height):
                    parts = (
                        lines[number] if number < len(lines) else " " * width
                        for lines, width in zip(cells, inner, strict=True)
                    )
                    yield Segment(" | ".join(parts))
                    yield Segment.line()

    def wrap(text: str, width: int) -> list[str]:
        starts = [0, *divide_line(text, width), len(text)]
        return [text[start:end][:width].ljust(width) for start, end in pairwise(starts)]

    def print_as_table(self: Any, data: list[dict[str, Any]]) -> None:  # noqa: ANN401 - Airflow's console
        rows = [[str(value) for value in row.values()] for row in data]
        names = list(data[0]) if data else []
        is_drawn = self.style is None and all(
            len(row) == len(names) and all(map(is_plain, row)) for row in ([str(name) for name in names], *rows)
        )
        if not names or not is_drawn:
            original(self, data)
            return
        table = PlainTable(show_header=self.show_header)
        for name in names:
            table.add_column(name)
        for row in rows:
            table.add_row(*row)
        self.print(table)

    return (print_as_table,)


def _measure_word(text: str) -> int:
    return max(map(len, text.split()), default=len(text))


_CONSOLE = "airflow.cli.simple_table:AirflowConsole"
PATCH = Patch(
    name="plain-tables",
    targets=(f"{_CONSOLE}.print_as_table",),
    requires=(
        Versions(("3.3.",)),
        Accepts(f"{_CONSOLE}.print_as_table", ("console", "data")),
        Has("airflow.cli.simple_table:SimpleTable", ("_render", "_measure_column", "_get_padding_width")),
        Has("rich._wrap", ("divide_line",)),
    ),
    assumes=(
        Digest(
            "how Airflow and rich draw a table",
            list_code,
            "574f40119f00d99dc74a0192b5ff760cae9cf8d47c39b8fa4c481b3d85d31008",
        ),
    ),
    make=_make,
    without="a table of 500 rows takes a fifth of a second of CPU to print",
    processes="the image of one machine, for the commands of `airfleet airflow`",
)
