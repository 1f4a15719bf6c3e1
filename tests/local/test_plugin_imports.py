"""The modules that Airflow's processes import because airfleet's plugins are installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.local


def test_a_process_that_loads_plugins_does_not_load_a_web_framework() -> None:
    code = "import sys; from airfleet_provider.api_server import plugin; print('fastapi' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said.splitlines()[-1] == "False"
