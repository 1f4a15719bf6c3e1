"""Write docs/reference/example-dags.md: how Airflow's own example Dags fare in a check, with the reason for each.

python tools/example_dags.py   starts a platform for them in a temporary folder, and ends it
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from airfleet.runners.local.ports import find_free

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "example-dags.md"
AIRFLEET = (sys.executable, "-m", "airfleet")
NOTE = "<!-- Written by tools/example_dags.py from a check. -->"
# How long a file takes to load is a matter of what else this machine does, and nothing about the file.
FLEET = """\
name: {name}
dags: releases
ports: {{api: {port}}}
checks: {{parse_seconds: 60}}
"""
# Why a file is refused: it is wrong here for a reason, or the check is.
REFUSED = {
    "dags/example_custom_weight.py": "It uses a priority strategy of Airflow's example plugins. A platform shows its "
    "own Dags only (`load_examples` is off), so these plugins are not loaded, and a release has none of its own. In a "
    "package with an entry point `airflow.plugins` the strategy is found.",
    "dags/example_workday_timetable.py": "The same with a timetable of the example plugins.",
}
WARNED = {
    "description": "An example explains itself by its code. Of a Dag in production, others have to see what it is for.",
    "owner": "An example belongs to nobody. A Dag in production has someone who is called when it fails.",
    "retries": "An example may fail at the first hiccup of a network. Airflow's own default is no retry.",
    "schedule": "To run every minute is fine to look at, and 1440 runs a day for ever after.",
    "airflow-2-code": "Without `schedule` a Dag ran daily in Airflow 2 and never runs now. Here that is meant.",
}

Finding = Mapping[str, Any]


def main() -> None:
    """Check the examples and write the page."""
    with tempfile.TemporaryDirectory(prefix="airfleet-examples-", ignore_cleanup_errors=True) as name:
        project = Path(name)
        project.chmod(0o755)
        copy(project)
        (project / "fleet.yaml").write_text(FLEET.format(name="examples", port=find_free()))
        subprocess.run([*AIRFLEET, "up", "--detach", name], check=True)
        try:
            check = [*AIRFLEET, "release", "check", "--format", "json", "--project", name]
            findings = json.loads(subprocess.run(check, check=False, stdout=subprocess.PIPE).stdout)["findings"]
        finally:
            subprocess.run([*AIRFLEET, "down", "--now", name], check=True)
    PAGE.write_text(describe(findings))


def copy(project: Path) -> None:
    """Copy the examples of the installed Airflow into a project's dags/, but for their plugins."""
    ignored = shutil.ignore_patterns("__pycache__", "plugins")
    shutil.copytree(find_examples(), project / "dags", dirs_exist_ok=True, ignore=ignored)


def find_examples() -> Path:
    """Return the folder of the examples."""
    airflow = find_spec("airflow")
    assert airflow and airflow.submodule_search_locations  # noqa: S101 - it is in the lock
    return Path(next(iter(airflow.submodule_search_locations))) / "example_dags"


def leave_out(project: Path, findings: Iterable[Finding]) -> None:
    """Have Airflow overlook the files that are refused."""
    refused = sorted({Path(one["path"]).name for one in findings if one["level"] == "error"})
    (project / "dags" / ".airflowignore").write_text("".join(f"{name}\n" for name in refused))


def describe(findings: Iterable[Finding]) -> str:
    """Return the page.

    Raises:
        KeyError: Nobody has written down why a finding is there.
    """
    refused = [one for one in findings if one["level"] == "error"]
    warned: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for one in findings:
        if one["level"] == "warning":
            warned[one["check"]][Path(one["path"]).stem] += 1
    files = sum(1 for path in find_examples().glob("*.py") if path.stem != "__init__")
    parts = [
        "# Airflow's own example Dags",
        "",
        NOTE,
        "",
        f"How the {files} files of `airflow.example_dags` of Airflow {version('apache-airflow-core')} fare in",
        "`airfleet release check`, on a platform with nothing but defaults. A test checks them, deploys the rest and",
        "compares with this page.",
        "",
        "## Refused",
        "",
        f"{len(refused)} of them. `airfleet release deploy` makes the others live once these are named in",
        "`dags/.airflowignore`.",
        "",
        "| file | what the check says | why that is right |",
        "|---|---|---|",
        *(f"| `{one['path']}:{one['line']}` | {_shorten(one['what'])} | {REFUSED[one['path']]} |" for one in refused),
        "",
        "## Warned about",
        "",
        "| check | findings | files | why |",
        "|---|---|---|---|",
    ]
    for check, where in sorted(warned.items()):
        names = f"{len(where)} files" if len(where) > 3 else ", ".join(f"`{name}`" for name in sorted(where))
        parts.append(f"| `{check}` | {sum(where.values())} | {names} | {WARNED[check]} |")
    return "\n".join(parts) + "\n"


def _shorten(text: str) -> str:
    sentence = text.partition(". ")[0].partition(" or you have")[0]
    return sentence.replace("|", "\\|")


if __name__ == "__main__":
    main()
