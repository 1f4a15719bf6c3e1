"""A link as the tests of the SDK expect it."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperatorLink


class AirflowLink(BaseOperatorLink):  # type: ignore[misc]
    name = "airflow"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ANN401 - Airflow's own
        return "https://airflow.apache.org"
