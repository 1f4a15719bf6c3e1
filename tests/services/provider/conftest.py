"""A home of its own for the Airflow that these tests import."""

from __future__ import annotations

import os
import tempfile

# Airflow writes its configuration where it finds none, and does so when it is imported.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airfleet-unit-"))
