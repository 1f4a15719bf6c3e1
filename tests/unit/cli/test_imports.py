"""Commands on one machine answer at once: they import nothing that only a fleet or a start of a platform needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deadline import COMMAND_S

LIST = """
import importlib, sys
importlib.import_module(sys.argv[1])
print(*(name for name in sys.argv[2:] if name in sys.modules))
"""
FLEET = ("airfleet.components.host_model", "airfleet.runners.fleet.transport.transport", "airfleet.runners.fleet.plan")
START = ("airfleet.runners.local.launch", "airfleet.components.one_machine")


@pytest.mark.parametrize("command", ["status", "release"])
def test_a_command_imports_only_what_it_needs(command: str) -> None:
    words = [sys.executable, "-c", LIST, f"airfleet.cli.{command}", *FLEET, *START]
    done = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_S, check=True)
    assert done.stdout.strip() == ""
