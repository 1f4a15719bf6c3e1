"""No two classes of the code have one name: a reader who meets a name knows which thing it is."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_no_name_of_a_class_means_two_things() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for folder in ("src", "provider/src"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text("utf-8")
            # Half of the modules have no class, and to parse one takes a millisecond.
            for node in ast.walk(ast.parse(text)) if "class " in text else ():
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(str(path.relative_to(ROOT)))
    assert len(places) > 500
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
