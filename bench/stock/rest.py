"""Airflow's REST API, as both systems serve it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx


class Rest:
    """A logged-in client."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=60, trust_env=False)
        login = {"username": user, "password": password}
        token = self._http.post("/auth/token", json=login).raise_for_status().json()["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    def unpause(self, dag: str) -> None:
        self._http.patch(f"/api/v2/dags/{dag}", json={"is_paused": False}).raise_for_status()

    def trigger(self, dag: str, run: str) -> None:
        body = {"logical_date": None, "dag_run_id": run}
        self._http.post(f"/api/v2/dags/{dag}/dagRuns", json=body).raise_for_status()

    def trigger_all(self, dags: Sequence[str], run: str) -> None:
        """Trigger a run of each Dag as fast as the api-server allows."""
        with ThreadPoolExecutor(min(4, len(dags))) as pool:
            for done in [pool.submit(self.trigger, dag, run) for dag in dags]:
                done.result()

    def close(self) -> None:
        self._http.close()


def is_healthy(url: str) -> bool:
    """Return whether Airflow's health page shows every component that has reported as healthy."""
    try:
        parts = httpx.get(f"{url}/api/v2/monitor/health", timeout=10, trust_env=False).json()
    except (httpx.HTTPError, ValueError):
        return False
    return all(part.get("status") == "healthy" for part in parts.values())
