"""A home of its own for the Airflow that these tests import."""

from __future__ import annotations

import airflow_home

airflow_home.make()
