"""Breakers for code of tasks: a context manager, which is a decorator too."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from airfleet_provider.breakers.guard import BreakerGuard
from airfleet_provider.breakers.messages import Starts
from airfleet_provider.compat.calls import config, task_process
from airfleet_provider.contract import breaker_rules


@contextmanager
def breaker(name: str) -> Iterator[None]:
    """Call a service under the breaker of this name, from the code of a task.

    If the breaker is open, the task ends here and waits, without a slot and without the loss of a try. So does a task
    whose block raises an error which says that the service is away. What the task did before is done again later.

    Outside a task, such as in a test, the block runs as it is.

    Raises:
        LookupError: fleet.yaml has no breaker of this name.
        AirflowRescheduleException: The task waits. Let it pass.
    """
    rules = breaker_rules.parse(config.read_setting(breaker_rules.SECTION, breaker_rules.KEY))
    if not task_process.is_supervised():
        yield
        return
    rule = next((one for one in rules if one.name == name), None)
    if rule is None:
        known = ", ".join(one.name for one in rules) or "none"
        raise LookupError(f"fleet.yaml has no breaker {name!r}; its breakers: {known}")
    guard, log = BreakerGuard(rules), CodeLog()
    guard.wait_if_told(log, Starts(by_code=(name,)))
    try:
        yield
    except Exception as error:
        guard.wait_if_away(log, error, [rule])
        raise


class CodeLog:
    """The log of a task's code, called as Airflow's own."""

    def warning(self, event: str, **values: object) -> None:
        error = values.pop("exc_info", None)
        said = ", ".join(f"{key}={value}" for key, value in values.items())
        shown = error if isinstance(error, BaseException) else None
        logging.getLogger("airflow.task").warning("%s: %s", event, said, exc_info=shown)
