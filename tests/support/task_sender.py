"""An executor without a scheduler: it sends the tasks that stdin names and reports each result."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

from airfleet_provider.compat.calls import celery_publishing
from airfleet_provider.executors.celery_config import read_link
from airfleet_provider.executors.celery_executor import CeleryExecutor, sign_messages


class Workload:
    """The part of an executor's workload that is needed to send a task."""

    def __init__(self, name: str) -> None:
        self.ti = SimpleNamespace(external_executor_id=name)

    def model_dump_json(self) -> str:
        return "{}"


def main() -> None:
    sign_messages(read_link())
    executor = CeleryExecutor()
    executor.set_up_publishing()
    why: list[Any] = []
    is_outage = celery_publishing.is_outage
    celery_publishing.is_outage = lambda failure: why.append(failure) or is_outage(failure)  # type: ignore[func-returns-value]
    for line in sys.stdin:
        name = line.strip()
        why.clear()
        executor._send_workloads_to_celery([(name, Workload(name), "default", None)])
        failure = why[-1]
        print(name, type(failure).__name__ if failure else "sent", flush=True)


if __name__ == "__main__":
    main()
