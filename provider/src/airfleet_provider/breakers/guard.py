"""What a task does about breakers, in its own process: it asks before it begins, and reports that a service is away."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from airfleet_provider.breakers.messages import Failed, GateAnswer, Request, Starts, decode_answer, encode
from airfleet_provider.compat.calls import task_process
from airfleet_provider.contract.breaker_rules import DEFAULT_ERRORS, BreakerRule
from airfleet_provider.contract.service_limits import ServiceLimit, list_services
from airfleet_provider.network import service_errors


class Log(Protocol):
    """The log of a task."""

    def warning(self, event: str, **values: object) -> object:
        """Write a line. `exc_info` is an error whose traceback is shown."""


@dataclass(slots=True)
class BreakerGuard:
    """Executes tasks under the rules. It asks only for tasks that a rule is about."""

    rules: Sequence[BreakerRule]
    ask: Callable[[str], str | None] = task_process.ask_variable
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    limits: Sequence[ServiceLimit] = ()

    def execute(self, ti: Any, log: Any, run: Callable[[], Any]) -> Any:  # noqa: ANN401 - Airflow's own
        """Return the result of `run`, which executes the task.

        A task that goes on after it was deferred does not ask: Airflow forgets the method that it would go on with when
        a task waits, so `execute` would run again, and submit its job a second time.

        Raises:
            AirflowRescheduleException: A service of the task is away, or gets enough calls. The task waits without a
                slot, and loses no try.
            Exception: Whatever the task raises besides.
        """
        task = ti.task
        tags = sorted(getattr(getattr(task, "dag", None), "tags", None) or ())
        services = list_services(self.rules, self.limits)
        fitting = [rule for rule in services if rule.fits(ti.dag_id, ti.task_id, tags)]
        own = [rule for rule in fitting if rule.covers(ti.dag_id, ti.task_id, tags)]
        used = task_process.find_connections(task) if any(rule.is_by_connection for rule in fitting) else []
        sure = [*own, *(rule for rule in fitting if rule.uses(used))]
        if sure and not task_process.is_resumed(ti):
            by_use = tuple(rule.name for rule in sure if rule.is_by_connection)
            self.wait_if_told(log, Starts(tuple(rule.name for rule in own), by_use))
        try:
            return run()
        except Exception as error:
            perhaps = [rule for rule in fitting if rule.is_by_connection and rule not in sure and rule in self.rules]
            self.wait_if_away(log, error, [rule for rule in sure if rule in self.rules], perhaps)
            raise

    def wait_if_away(
        self, log: Log, error: Exception, sure: Iterable[BreakerRule], perhaps: Iterable[BreakerRule] = ()
    ) -> None:
        """Report an error that says that a service is away, and raise what makes the task wait; else return."""
        if service_errors.is_decided(error):
            return
        certain = tuple(rule.name for rule in sure if counts(rule, error))
        possible = tuple(rule.name for rule in perhaps if counts(rule, error))
        if certain or possible:
            after = service_errors.find_retry_after(error, self.now())
            self.wait_if_told(log, Failed(certain, possible, service_errors.name_error(error), after), error)

    def wait_if_told(self, log: Log, request: Request, error: Exception | None = None) -> None:
        """Send a request, and raise what makes the task wait if the answer says so.

        A platform that does not answer is none of the task's business here: the task goes on.

        Raises:
            AirflowRescheduleException: The task waits.
        """
        try:
            answer = decode_answer(self.ask(encode(request)))
        except Exception as failure:
            log.warning("airfleet: the state of the circuit breakers is unknown", error=str(failure))
            return
        if answer.wait_s is not None:
            self._wait(log, answer, answer.wait_s, error)

    def _wait(self, log: Log, answer: GateAnswer, wait_s: float, error: Exception | None) -> None:
        what = "limit of a service" if answer.is_limit else "circuit breaker"
        log.warning(
            f"airfleet: the task waits for the {what}, without a slot and without the loss of a try",
            **{"limit" if answer.is_limit else "breaker": answer.breaker},
            why=answer.why,
            exc_info=error,
        )
        raise task_process.reschedule(wait_s, self.now()) from error


def counts(rule: BreakerRule, error: Exception) -> bool:
    """Return whether an error is one that the rule is about."""
    own = [one for one in rule.errors if one != DEFAULT_ERRORS]
    if own and service_errors.matches(error, own):
        return True
    return DEFAULT_ERRORS in rule.errors and service_errors.says_away(error)
