"""The agents import no more than they use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from deadline import COMMAND_S

CODE = """
import sys
from airfleet_provider.agents.__main__ import main

try:
    main()
except SystemExit as error:
    print(error)
print(sorted({"httpx", "rich", "click", "pygments"} & set(sys.modules)))
"""


def test_the_agents_have_httpx_without_its_command_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, "AIRFLEET_AGENTS": str(tmp_path / "away.json")},
        capture_output=True,
        text=True,
        check=True,
        timeout=COMMAND_S,
    )
    said, imported = done.stdout.splitlines()
    assert "cannot read" in said
    assert imported == "['httpx']"
