"""How Celery keeps connections to the broker, and how it gives up a connection whose state nobody knows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from amqp.exceptions import AccessRefused, AMQPError, ContentTooLarge, MessageNacked, PreconditionFailed
from celery.app.amqp import AMQP
from kombu.exceptions import OperationalError
from kombu.messaging import Producer
from kombu.pools import ProducerPool

from airfleet_provider.network.keepalive import list_tcp_options

log = logging.getLogger(__name__)

# kombu has no types.
make_producer_pool: Any = ProducerPool
# Classes of AMQP's methods about one exchange, queue or message; the others are about the connection.
OF_ONE_TASK = (40, 50, 60)


class AbruptProducer(Producer):
    """After a failure it closes the socket at once.

    kombu's own says goodbye first, and waits without a limit for an answer that a broker which hangs never gives.
    """

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self.__connection__ is not None:
            self.__connection__.collect()
        self.release()  # type: ignore[no-untyped-call]


class AbruptAMQP(AMQP):  # type: ignore[misc]
    """Celery's way to the broker, with producers that never wait for a goodbye."""

    _producer_pool: Any = None

    @property
    def producer_pool(self) -> Any:  # noqa: ANN401 - kombu has no types
        """The producers of this process; Celery sets the attribute to None after a fork."""
        if self._producer_pool is None:
            connections = self.app.pool
            self._producer_pool = make_producer_pool(connections, limit=connections.limit, Producer=AbruptProducer)
        return self._producer_pool


def find_publishing_app(team: str | None) -> Any:  # noqa: ANN401 - a Celery application
    """The application through which Airflow's executor sends tasks; it is not the executor's own."""
    from airflow.providers.celery.executors.celery_executor_utils import (  # noqa: PLC0415 - it costs seconds
        _get_celery_app_for_workload,
    )

    return _get_celery_app_for_workload(team)


def close_abruptly(app: Any) -> None:  # noqa: ANN401 - a Celery application
    """Let an application close a connection without a word after a failure."""
    app.amqp = AbruptAMQP(app)


def notice_dead_brokers(app: Any) -> None:  # noqa: ANN401 - a Celery application
    """Give up a broker's host without power as any other dead peer; before the application has a connection.

    airflow.cfg cannot say it: of these options it knows only plain ones, and this is a table.
    """
    app.conf.broker_transport_options = {**app.conf.broker_transport_options, "socket_settings": list_tcp_options()}


def discard_connections(app: Any) -> None:  # noqa: ANN401 - a Celery application
    """Close every connection of an application without a word, and begin with the next broker.

    A time-out by SIGALRM interrupts whatever instruction is being executed: half a frame may have been written or
    read, an answer may be outstanding that the next call would take for its own, a connection may be in no pool.
    """
    for pool in (app.amqp.producer_pool, app.pool):
        pool.resize(pool.limit, reset=True)
    app.pool.connection.maybe_switch_next()


def is_outage(failure: BaseException | None) -> bool:
    """Whether the broker failed to take a message, and not the message was wrong: it is to be sent again later."""
    from airflow.sdk.exceptions import AirflowTaskTimeout  # noqa: PLC0415 - workers need not pay for it

    if isinstance(failure, (PreconditionFailed, ContentTooLarge)):
        return False
    if isinstance(failure, AccessRefused):  # of a login while its password is exchanged, or of a queue for good
        return failure.method_sig[0] not in OF_ONE_TASK
    return isinstance(failure, (AirflowTaskTimeout, OperationalError, OSError, AMQPError, MessageNacked))


def send_until_refused(
    send: Callable[[Sequence[Any]], list[Any]], workloads: Sequence[Any], discard: Callable[[], None]
) -> list[Any]:
    """Send one after another; once the broker does not take one, the rest is to be tried again later, like the first.

    Airflow tries again what took too long, and fails what a broker that is away refused; both are an outage. Nobody
    knows then how far the connection got, so `discard` is called, and the next try makes a new one: at once and a
    single time where a connection may just have ended since its last use.
    """
    from airflow.providers.celery.executors.celery_executor_utils import ExceptionWithTraceback  # noqa: PLC0415
    from airflow.sdk.exceptions import AirflowTaskTimeout  # noqa: PLC0415

    done: list[Any] = []
    may_try_anew = True
    for workload in workloads:
        while is_outage(failure := _read_failure(answer := send([workload])[0])):
            log.warning("the broker took no task, which is sent again: %s: %s", type(failure).__name__, failure)
            discard()
            if isinstance(failure, AirflowTaskTimeout) or not may_try_anew:
                late = ExceptionWithTraceback(AirflowTaskTimeout("the broker does not answer"), "")
                return [*done, *((*one[:2], late) for one in workloads[len(done) :])]
            may_try_anew = False
        done.append(answer)
    return done


def _read_failure(answer: Sequence[Any]) -> BaseException | None:
    """What went wrong with a workload that was sent, by Airflow's answer."""
    from airflow.providers.celery.executors.celery_executor_utils import ExceptionWithTraceback  # noqa: PLC0415

    return answer[-1].exception if isinstance(answer[-1], ExceptionWithTraceback) else None
