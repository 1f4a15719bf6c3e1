"""Celery's connections to the broker, and how to drop a connection whose state is unknown."""

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
# The classes of AMQP methods that concern one exchange, queue or message. The others concern the connection.
OF_ONE_TASK = (40, 50, 60)


class AbruptProducer(Producer):
    """A producer that closes the socket at once after a failure.

    kombu's producer first closes the connection politely, and waits without a limit for the answer of the broker. A
    broker that hangs never answers.
    """

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self.__connection__ is not None:
            self.__connection__.collect()
        self.release()  # type: ignore[no-untyped-call]


class AbruptAMQP(AMQP):  # type: ignore[misc]
    """Celery's AMQP, with producers that do not wait for the broker when they close."""

    _producer_pool: Any = None

    @property
    def producer_pool(self) -> Any:  # noqa: ANN401 - kombu has no types
        """Return the pool of producers of this process. Celery sets the attribute to None after a fork."""
        if self._producer_pool is None:
            connections = self.app.pool
            self._producer_pool = make_producer_pool(connections, limit=connections.limit, Producer=AbruptProducer)
        return self._producer_pool


def find_publishing_app(team: str | None) -> Any:  # noqa: ANN401 - a Celery application
    """Return the Celery application with which Airflow's executor sends tasks. It differs from the executor's `app`."""
    from airflow.providers.celery.executors.celery_executor_utils import (  # noqa: PLC0415 - the import takes seconds
        _get_celery_app_for_workload,
    )

    return _get_celery_app_for_workload(team)


def close_abruptly(app: Any) -> None:  # noqa: ANN401 - a Celery application
    """Let an application close the socket at once after a failure."""
    app.amqp = AbruptAMQP(app)


def notice_dead_brokers(app: Any) -> None:  # noqa: ANN401 - a Celery application
    """Let the kernel end connections to a broker whose host lost power. Call it before the first connection.

    airflow.cfg cannot set this option, because its value is a table.
    """
    app.conf.broker_transport_options = {**app.conf.broker_transport_options, "socket_settings": list_tcp_options()}


def discard_connections(app: Any) -> None:  # noqa: ANN401 - a Celery application
    """Close every connection of an application at once, and continue with the next broker.

    A time-out by SIGALRM can interrupt any instruction. A frame may be half written or half read, the next call might
    read the answer of the interrupted one, and a connection may be in no pool.
    """
    for pool in (app.amqp.producer_pool, app.pool):
        pool.resize(pool.limit, reset=True)
    app.pool.connection.maybe_switch_next()


def is_outage(failure: BaseException | None) -> bool:
    """Return whether the broker failed, and not the message. Then the message must be sent again later."""
    from airflow.sdk.exceptions import AirflowTaskTimeout  # noqa: PLC0415 - workers do not need it

    if isinstance(failure, (PreconditionFailed, ContentTooLarge)):
        return False
    if isinstance(failure, AccessRefused):  # temporary for a login during a rotation, permanent for a queue
        return failure.method_sig[0] not in OF_ONE_TASK
    return isinstance(failure, (AirflowTaskTimeout, OperationalError, OSError, AMQPError, MessageNacked))


def send_until_refused(
    send: Callable[[Sequence[Any]], list[Any]], workloads: Sequence[Any], discard: Callable[[], None]
) -> list[Any]:
    """Send workloads one after another. After the broker fails for one, that one and the rest are sent again later.

    Airflow sends a task again after a time-out, but fails it if the broker was down. Both are an outage here. The state
    of the connection is then unknown, so `discard` is called, and the next attempt makes a new connection. If the first
    workload fails, there is one attempt at once, because an idle connection may just have ended.
    """
    from airflow.providers.celery.executors.celery_executor_utils import ExceptionWithTraceback  # noqa: PLC0415
    from airflow.sdk.exceptions import AirflowTaskTimeout  # noqa: PLC0415

    done: list[Any] = []
    may_try_anew = True
    for workload in workloads:
        while is_outage(failure := _read_failure(answer := send([workload])[0])):
            log.warning("the broker took no task; it is sent again: %s: %s", type(failure).__name__, failure)
            discard()
            if isinstance(failure, AirflowTaskTimeout) or not may_try_anew:
                late = ExceptionWithTraceback(AirflowTaskTimeout("the broker does not answer"), "")
                return [*done, *((*one[:2], late) for one in workloads[len(done) :])]
            may_try_anew = False
        done.append(answer)
    return done


def _read_failure(answer: Sequence[Any]) -> BaseException | None:
    """Return the exception in Airflow's result of a workload, or None."""
    from airflow.providers.celery.executors.celery_executor_utils import ExceptionWithTraceback  # noqa: PLC0415

    return answer[-1].exception if isinstance(answer[-1], ExceptionWithTraceback) else None
