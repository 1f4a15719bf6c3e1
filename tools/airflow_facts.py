"""Write what `airfleet migrate assess` knows of the installed Airflow 3: its modules, options and changes of options.

python tools/airflow_facts.py           write the files in src/airfleet/operations/migration
python tools/airflow_facts.py --check   exit with 1 when a file is not what Airflow says
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import airflow
import yaml
from airflow.cli.commands.config_command import CONFIGS_CHANGES

FOLDER = Path(__file__).parents[1] / "src" / "airfleet" / "operations" / "migration"
ROOT = Path(airflow.__file__).parent
# Providers have versions of their own; the others are not for Dags.
STANDARD = ("providers", "standard")  # airfleet's lock pins it, and it has most of what left Airflow's core
APART = ("providers", "migrations", "example_dags", "_vendor", "_shared", "ui", "config_templates")


def describe_options() -> str:
    """Return the changes that `airflow config lint` knows: option, new name or "", and a suggestion."""
    changes: dict[str, list[str]] = {}
    for change in CONFIGS_CHANGES:
        if change.default_change or change.is_invalid_if is not None or change.remove_if_equals is not None:
            continue
        name = f"{change.config.section}.{change.config.option}"
        to = f"{change.renamed_to.section}.{change.renamed_to.option}" if change.renamed_to else ""
        if to or change.was_removed:
            changes[name] = [to, " ".join(change.suggestion.split())]
    return _write(f"{json.dumps(name)}: {json.dumps(change)}" for name, change in sorted(changes.items()))


def describe_defaults() -> str:
    """Return the default of every option of Airflow's own; null where there is none."""
    sections = yaml.safe_load((ROOT / "config_templates" / "config.yml").read_text())
    found = {
        f"{section}.{option}": described["default"]
        for section, whole in sections.items()
        for option, described in (whole["options"] or {}).items()
    }
    return _write(f"{json.dumps(name)}: {json.dumps(default)}" for name, default in sorted(found.items()))


def describe_modules() -> str:
    """Return every module that Dags could import, with the names that it redirects; null means a module with a file."""
    found: dict[str, list[str] | None] = {"airflow": None}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if (parts[0] in APART and parts[:2] != STANDARD) or parts == ("__init__",):
            continue
        name = ".".join(("airflow", *(parts[:-1] if parts[-1] == "__init__" else parts)))
        found[name] = None
        if parts[-1] == "__init__":
            for module, names in _list_redirects(path):
                found.setdefault(f"{name}.{module}", names)
    return _write(f"{json.dumps(name)}: {json.dumps(names)}" for name, names in sorted(found.items()))


def _list_redirects(path: Path) -> Iterator[tuple[str, list[str]]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(value, ast.Dict):
                    names = [one.value for one in value.keys if isinstance(one, ast.Constant)]
                    yield str(key.value), sorted(str(name) for name in names)


def _write(lines: Iterable[str]) -> str:
    return "{\n  " + ",\n  ".join(lines) + "\n}\n"


def main() -> int:
    """Write the files, or compare them with `--check`."""
    texts = {
        "airflow_modules.json": describe_modules(),
        "config_changes.json": describe_options(),
        "config_defaults.json": describe_defaults(),
    }
    if "--check" in sys.argv:
        return int(any((FOLDER / name).read_text() != text for name, text in texts.items()))
    for name, text in texts.items():
        (FOLDER / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
