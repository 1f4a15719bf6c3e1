"""A command on one machine learns without reading fleet.yaml whole that it names no hosts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from airfleet.errors import UsageError
from airfleet.workspace.project import digest_settings, find_fleet, has_releases, note_start, read_fleet
from airfleet.workspace.state_folder import StateFolder
from deadline import COMMAND_S

ROLES = ("web", "scheduler", "worker", "database", "broker", "balancer")
# What a command of Airflow needs before the running platform answers it.
LIGHT = """
import sys
import airfleet.cli.main, airfleet.cli.airflow
heavy = {"airfleet.spec.load", "airfleet.spec.fleet", "airfleet.components.model", "pydantic", "yaml"}
print(sorted(heavy & sys.modules.keys()))
"""


def test_only_another_text_than_that_of_the_last_start_is_read(tmp_path: Path) -> None:
    file, folder = tmp_path / "fleet.yaml", StateFolder(tmp_path / ".airfleet")
    folder.create()
    file.write_text("prots: {}\n")
    with pytest.raises(UsageError, match="prots"):
        find_fleet(tmp_path, folder, pytest.fail)
    folder.note_settings(digest_settings(tmp_path))
    assert find_fleet(tmp_path, folder, pytest.fail) is None
    file.write_text("prots: {a: 1}\n")
    with pytest.raises(UsageError, match="prots"):
        find_fleet(tmp_path, folder, pytest.fail)


def test_after_a_start_on_this_machine_the_fleet_of_the_same_file_is_found(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / ".airfleet")
    folder.create()
    for text, count in ((f"executor: celery\nhosts:\n  a: {{address: 10.0.0.1, roles: {list(ROLES)}}}\n", 1), ("", 0)):
        (tmp_path / "fleet.yaml").write_text(text)
        note_start(folder, read_fleet(tmp_path), digest_settings(tmp_path))
        found = find_fleet(tmp_path, folder, pytest.fail)
        assert len(found.hosts if found else ()) == count


def test_a_missing_file_is_that_of_the_last_start_too_and_one_with_the_wrong_name_is_read(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / ".airfleet")
    folder.create()
    folder.note_settings(digest_settings(tmp_path))
    assert folder.started_with(digest_settings(tmp_path))
    (tmp_path / "fleet.yml").touch()
    assert not folder.started_with(digest_settings(tmp_path))
    with pytest.raises(UsageError, match=r"fleet\.yaml"):
        find_fleet(tmp_path, folder, pytest.fail)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "name: x\n",
            "dags: releases\n",
            "dags: folder\n",
            "dags:  releases  # why\r\n",
            "name: x\rdags: releases",
        ),
        *("releases: {keep: 3}\ndags: folder\n", "# dags: releases\n", "# a comment ends here\rdags: releases\n"),
        *('"dags": releases\n', "{name: x, dags: releases}\n", "  dags: releases\n", "? dags\n: releases\n"),
        *('"d\\x61gs": releases\n', "dags: 'releases'\n", "dags:\n  releases\n", "# x\u2028dags: releases\n"),
        *("airflow: {core: {x: y}}\nname: dags\ndags: releases\n", "\ufeffdags: releases\n"),
        *("x-a: |\n  dags: releases\n", "x-a: &a {dags: releases}\n<<: *a\n", "dags: releases\n...\n"),
        # Inside brackets and quotes PyYAML lets a value go on in the first column.
        *("env: {A: b,\ndags: releases\n}\n", "env:\n  A: 'b\ndags: releases\n\n  c'\n", 'x-a: "b\ndags: releases\n"'),
    ],
)
def test_whether_a_file_says_releases_is_read_as_the_parser_reads_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "fleet.yaml").write_bytes(text.encode())
    assert has_releases(tmp_path) == (read_fleet(tmp_path).dags == "releases")


def test_a_command_of_airflow_imports_no_reader_of_fleet_yaml() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, timeout=COMMAND_S, check=True)
    assert done.stdout.strip() == "[]"
