"""Write docs/architecture.svg from the imports between the packages of both halves.

python tools/architecture.py           write the drawing
python tools/architecture.py --check   exit with 1 when the drawing is not what the code says

A box is a package at the first level of `airfleet` or `airfleet_provider`, or a module there that a package imports.
The packages in `airfleet.runners` have boxes of their own. An import that a longer path through other packages implies
has no arrow. The code calls what is in a box a room.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from math import ceil
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
DRAWING = ROOT / "docs" / "architecture.svg"
HALVES = ("airfleet", "airfleet_provider")
SPLIT = frozenset({"airfleet.runners"})  # packages whose own packages are the rooms
ASSETS = frozenset({"airfleet.skeleton", "airfleet.constraints"})  # files that airfleet ships, no code of its own
FORMER = frozenset({"airfleet_provider.runtime"})  # the former name of a room, for one version

BOX_WIDTH, BOX_HEIGHT, GAP, ROW, MARGIN, HEAD = 130, 34, 10, 76, 16, 44
PER_ROW = 7
_CENTRE = "text-anchor='middle'"
FONT = "font-family='system-ui, sans-serif'"
COLOURS = {"airfleet": ("#e8f0fe", "#3b6fd4"), "airfleet_provider": ("#e7f6ec", "#2e8b57")}

Imports = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Box:
    """The place of a package in the drawing."""

    room: str
    x: float
    y: float


def read_imports() -> Imports:
    """Return the packages that each package imports directly."""
    graph = grimp.build_graph(*HALVES, cache_dir=None)
    packages = {module for module in graph.modules if graph.find_children(module)}
    found: dict[str, set[str]] = {}
    for module in graph.modules:
        if (room := find_room(module, packages)) is None:
            continue
        found.setdefault(room, set())
        for imported in graph.find_modules_directly_imported_by(module):
            other = find_room(imported, packages)
            if other is not None and other != room:
                found[room].add(other)
    used = {other for others in found.values() for other in others}
    kept = {room for room in found if room in packages or room in used}
    return {room: frozenset(found[room] & kept) for room in sorted(kept)}


def find_room(module: str, packages: Iterable[str]) -> str | None:
    """Return the package that a module belongs to.

    It is None for the two roots, and for the modules at the top of a package whose subpackages are drawn.
    """
    parts = module.split(".")
    depth = 3 if ".".join(parts[:2]) in SPLIT else 2
    room = ".".join(parts[:depth])
    if len(parts) < depth or {room, ".".join(parts[:2])} & (ASSETS | FORMER):
        return None
    return room if depth == 2 or room in packages else None


def reduce(imports: Imports) -> Imports:
    """Return the imports without each one that a longer path through other packages implies."""
    ways = {room: _reach(room, imports) for room in imports}
    return {
        room: frozenset(
            other
            for other in others
            if not any(other in ways[between] and room not in ways[between] for between in others - {other})
        )
        for room, others in imports.items()
    }


def _reach(room: str, imports: Imports) -> frozenset[str]:
    seen: set[str] = set()
    todo = list(imports[room])
    while todo:
        if (other := todo.pop()) not in seen:
            seen.add(other)
            todo += imports[other]
    return frozenset(seen)


def find_levels(imports: Imports) -> dict[str, int]:
    """Return the level of each package. It is above those of all packages that it imports.

    Packages that import each other in a circle share a level.
    """
    ways = {room: _reach(room, imports) for room in imports}
    levels: dict[str, int] = {}

    def level(room: str) -> int:
        if room not in levels:
            below = [other for other in ways[room] if room not in ways[other]]
            levels[room] = 1 + max((level(other) for other in below), default=-1)
        return levels[room]

    for room in imports:
        level(room)
    return levels


def arrange(imports: Imports, levels: Mapping[str, int]) -> list[Box]:
    """Return the boxes: each half in columns of its own, and a package above those that it imports if there is space.

    A level with more packages than a row holds takes several rows, in both halves.
    """
    top = max(levels.values())
    boxes: dict[str, Box] = {}
    rows = {half: [_find_rooms(half, level, imports, levels) for level in range(top + 1)] for half in HALVES}
    heights = [max(ceil(len(rows[half][level]) / PER_ROW) for half in HALVES) for level in range(top + 1)]
    left = float(MARGIN)
    for half in HALVES:
        columns = max(min(len(row), PER_ROW) for row in rows[half])
        for level, row in enumerate(rows[half]):
            wanted: dict[str, float] = {
                room: _find_mean([boxes[other].x for other in imports[room] if other in boxes]) for room in row
            }
            ordered = sorted(row, key=lambda room: (wanted[room], room))
            count = ceil(len(row) / PER_ROW) or 1
            y = HEAD + sum(heights[level + 1 :]) * ROW
            for number in range(count):
                part = ordered[number::count]  # neighbours alternate, so that an arrow finds a gap
                shift = (columns - len(part)) / 2
                for place, room in enumerate(part):
                    boxes[room] = Box(room, left + (shift + place) * (BOX_WIDTH + GAP), y + number * ROW)
        left += columns * (BOX_WIDTH + GAP) + MARGIN
    return list(boxes.values())


def _find_rooms(half: str, level: int, imports: Imports, levels: Mapping[str, int]) -> list[str]:
    return [room for room in imports if room.startswith(half + ".") and levels[room] == level]


def _find_mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0.0


def draw(imports: Imports) -> str:
    """Return the drawing as SVG. An import that a longer path implies has no arrow."""
    arrows = reduce(imports)
    boxes = {box.room: box for box in arrange(arrows, find_levels(imports))}
    width = max(box.x for box in boxes.values()) + BOX_WIDTH + MARGIN
    height = max(box.y for box in boxes.values()) + BOX_HEIGHT + MARGIN
    lines = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width:.0f} {height:.0f}' role='img'>",
        "<title>The rooms of airfleet and airfleet_provider, and which imports which</title>",
        "<desc>Written by tools/architecture.py from the code.</desc>",
        "<defs><marker id='to' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' markerHeight='7' orient='auto'>"
        "<path d='M0 0L8 4L0 8z' fill='#667'/></marker></defs>",
        f"<rect width='{width:.0f}' height='{height:.0f}' fill='#fff'/>",
    ]
    for half in HALVES:
        own = [box for box in boxes.values() if box.room.startswith(half + ".")]
        middle = (min(box.x for box in own) + max(box.x for box in own) + BOX_WIDTH) / 2
        lines.append(
            f"<text x='{middle:.0f}' y='24' {FONT} font-size='15' font-weight='600' fill='#223' {_CENTRE}>{half}</text>"
        )
    lines += [_draw_arrow(boxes[room], boxes[other]) for room in arrows for other in sorted(arrows[room])]
    lines += [_draw_box(box) for box in sorted(boxes.values(), key=lambda box: box.room)]
    return "\n".join([*lines, "</svg>", ""])


def _draw_box(box: Box) -> str:
    half, _, name = box.room.partition(".")
    fill, line = COLOURS[half]
    place = f"x='{box.x:.0f}' y='{box.y:.0f}' width='{BOX_WIDTH}' height='{BOX_HEIGHT}' rx='6'"
    middle = f"x='{box.x + BOX_WIDTH / 2:.0f}' y='{box.y + 22:.0f}'"
    text = f"<text {middle} {FONT} font-size='13' fill='#223' {_CENTRE}>{escape(name)}</text>"
    return f"<rect {place} fill='{fill}' stroke='{line}'/>{text}"


def _draw_arrow(start: Box, end: Box) -> str:
    x1, x2 = start.x + BOX_WIDTH / 2, end.x + BOX_WIDTH / 2
    y1, y2 = start.y + BOX_HEIGHT, end.y - 1
    bend = (y2 - y1) / 2
    path = f"M{x1:.0f} {y1:.0f}C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}"
    return f"<path d='{path}' fill='none' stroke='#667' stroke-width='1.1' marker-end='url(#to)'/>"


def main() -> None:
    text = draw(read_imports())
    if "--check" not in sys.argv:
        DRAWING.write_text(text)
    elif not DRAWING.exists() or DRAWING.read_text() != text:
        print("docs/architecture.svg is not what the code says: python tools/architecture.py", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
