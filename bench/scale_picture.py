"""Draws the decisions of `bench/results/scale_log.json` (see `hosts.py`) as docs/images/scale-log.svg.

python bench/scale_picture.py                draw it again after `make bench-hosts ARGS="--part ahead"`
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOG, PICTURE = ROOT / "bench" / "results" / "scale_log.json", ROOT / "docs" / "images" / "scale-log.svg"
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 960, 320, 48, 40, 32
# The key of a record, what it is called, its colour, and how many slots one of it stands for.
LINES = (
    ("hosts", "slots of hosts that are on or start", "#b8b8b8", 8),
    ("slots", "slots in force", "#1f77b4", 1),
    ("tasks", "tasks that run or wait", "#d62728", 1),
)


def draw(records: Sequence[Mapping[str, Any]]) -> str:
    """Return the picture of these decisions."""
    end = max(one["at_s"] for one in records)
    most = max(one[key] * each for one in records for key, _, _, each in LINES)
    across, down = (WIDTH - LEFT - 12) / end, (HEIGHT - TOP - BOTTOM) / most
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        ' font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for level in range(0, most + 1, 20):
        y = round(HEIGHT - BOTTOM - level * down, 1)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 12}" y1="{y}" y2="{y}" stroke="#eee"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{level}</text>')
    for at in range(0, end + 1, 1800):
        x = round(LEFT + at * across, 1)
        parts.append(f'<text x="{x}" y="{HEIGHT - 10}" text-anchor="middle">{at // 3600}:{at % 3600 // 60:02}</text>')
    for place, (key, name, colour, each) in enumerate(LINES):
        points, before = [], None
        for one in records:
            x, y = round(LEFT + one["at_s"] * across, 1), round(HEIGHT - BOTTOM - one[key] * each * down, 1)
            points += [f"{x},{y}"] if before is None else [f"{x},{before}", f"{x},{y}"]
            before = y
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{" ".join(points)}"/>')
        parts.append(f'<text x="{LEFT + 260 * place}" y="20" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    """Draw the picture."""
    PICTURE.write_text(draw(json.loads(LOG.read_text())))


if __name__ == "__main__":
    main()
