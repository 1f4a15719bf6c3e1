"""The place of each box and line in the picture of what is before and after a node."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from airfleet_provider.contract.lineage.graph import LineageGraph, NodeKey

# Points. A picture has at most so many boxes: the nearest.
WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 220, 46, 60, 18, 8
MOST_BOXES = 40
# Characters of a name in a box.
MOST_CHARS = 28


@dataclass(frozen=True, slots=True)
class Box:
    """A node of the picture and its upper left corner."""

    node: NodeKey
    x: int
    y: int
    is_subject: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """Boxes, the paths of the lines between them, the size of all, and whether there are nodes without a box."""

    boxes: tuple[Box, ...]
    lines: tuple[str, ...]
    width: int
    height: int
    is_cut: bool = False


def draw(graph: LineageGraph, node: NodeKey) -> Picture:
    """Return the picture of a node: what it depends on is on its left, what depends on it on its right.

    A node that is both before and after the subject, because of a circle, is on the left.
    """
    columns = dict(graph.find_relatives(node, down=True, most=MOST_BOXES))
    columns |= {one: -depth for one, depth in graph.find_relatives(node, down=False, most=MOST_BOXES).items()}
    nearest = sorted(columns, key=lambda one: (abs(columns[one]), one))
    shown = {node: 0, **{one: columns[one] for one in nearest[: MOST_BOXES - 1]}}
    first = min(shown.values())
    rows: defaultdict[int, int] = defaultdict(int)
    boxes = []
    for one, column in shown.items():
        x, y = MARGIN + (column - first) * (WIDTH + GAP_X), MARGIN + rows[column] * (HEIGHT + GAP_Y)
        rows[column] += 1
        boxes.append(Box(one, x, y, one == node))
    places = {box.node: box for box in boxes}
    edges = (edge for one in places for edge in graph.list_edges(one, down=True))
    pairs = dict.fromkeys((edge.source, edge.target) for edge in edges if edge.target in places)
    return Picture(
        boxes=tuple(boxes),
        lines=tuple(_connect(places[source], places[target]) for source, target in pairs),
        width=2 * MARGIN + (max(shown.values()) - first) * (WIDTH + GAP_X) + WIDTH,
        height=2 * MARGIN + max(rows.values()) * (HEIGHT + GAP_Y) - GAP_Y,
        is_cut=len(columns) >= len(shown),
    )


def shorten(name: str) -> str:
    """Return what fits into a box: of an address its end, which says the table; of another name the beginning."""
    if len(name) <= MOST_CHARS:
        return name
    return f"…{name[1 - MOST_CHARS :]}" if "://" in name else f"{name[: MOST_CHARS - 1]}…"


def _connect(source: Box, target: Box) -> str:
    """Return the path of a curve from the right side of one box to the left side of another one."""
    x1, y1, x2, y2 = source.x + WIDTH, source.y + HEIGHT // 2, target.x, target.y + HEIGHT // 2
    bend = GAP_X // 2 if x2 > x1 else GAP_X
    return f"M{x1} {y1} C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"
