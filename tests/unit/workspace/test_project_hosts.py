"""A command on one machine learns without reading fleet.yaml whole that it names no hosts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from airfleet.workspace.project import has_releases, may_name_hosts, read_fleet
from deadline import COMMAND_S

# What a command of Airflow needs before the running platform answers it.
LIGHT = """
import sys
import airfleet.cli.main, airfleet.cli.airflow
heavy = {"airfleet.spec.load", "airfleet.spec.fleet", "airfleet.components.model", "pydantic", "yaml"}
print(sorted(heavy & sys.modules.keys()))
"""


@pytest.mark.parametrize(
    ("text", "may"),
    [
        ("name: mine\nexecutor: celery\n", False),
        ("name: mine\n# hosts: {a: {}}\n  # more hosts\n", False),
        ("", False),
        ("hosts: {a: {address: 10.0.0.1}}\n", True),
        ("x-all: &all\n  hosts: {a: {}}\n<<: *all\n", True),
        ('"h\\x6fsts": {a: {address: 10.0.0.1}}\n', True),
        ("# a comment ends here\u2028hosts: {a: {}}\n", True),
        ("# a comment ends here\rhosts: {a: {}}\n", True),
        ("? hosts\n: {a: {}}\n", True),
    ],
)
def test_only_a_file_without_the_word_names_no_hosts(tmp_path: Path, text: str, may: bool) -> None:
    (tmp_path / "fleet.yaml").write_bytes(text.encode())
    assert may_name_hosts(tmp_path) is may


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


def test_no_file_names_no_hosts_and_one_with_the_wrong_name_is_read(tmp_path: Path) -> None:
    assert not may_name_hosts(tmp_path)
    (tmp_path / "fleet.yml").touch()
    assert may_name_hosts(tmp_path)


def test_a_command_of_airflow_imports_no_reader_of_fleet_yaml() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, timeout=COMMAND_S, check=True)
    assert done.stdout.strip() == "[]"
