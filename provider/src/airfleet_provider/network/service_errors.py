"""Which errors of a task say that a service which it called is away, and not that the task is wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# The classes of errors, and their subclasses, by their whole names. The libraries need not be installed.
AWAY = re.compile(
    "|".join(
        (
            r"builtins\.(ConnectionError|TimeoutError)",
            r"socket\.(gaierror|herror)",
            r"ssl\.SSLError",
            r"urllib\.error\.URLError",
            r"http\.client\.(BadStatusLine|IncompleteRead)",
            r"urllib3\.exceptions\.(MaxRetryError|ProtocolError|SSLError|TimeoutError)",
            r"requests\.exceptions\.(ConnectionError|Timeout|ChunkedEncodingError)",
            r"httpx\.TransportError",
            r"httpcore\.(NetworkError|ProtocolError|TimeoutException)",
            r"aiohttp\.client_exceptions\.ClientConnectionError",
            r"(psycopg2|psycopg|MySQLdb|oracledb\.exceptions)\.(OperationalError|InterfaceError)",
            r"pymysql\.err\.(OperationalError|InterfaceError)",
            r"asyncpg\.exceptions\.PostgresConnectionError",
            r"pymongo\.errors\.ConnectionFailure",
            r"redis\.exceptions\.(ConnectionError|TimeoutError)",
            r"elastic_transport\.(ConnectionError|ConnectionTimeout)",
            r"botocore\.exceptions\.(HTTPClientError|ConnectionError)",
            r"google\.api_core\.exceptions\.(ServerError|TooManyRequests|RetryError)",
            r"paramiko\.ssh_exception\.NoValidConnectionsError",
        )
    )
)
# An author who raises one of these has decided what becomes of the task.
DECIDED = re.compile(
    r"airflow\.(sdk\.)?exceptions\.(AirflowFailException|AirflowSkipException|AirflowRescheduleException"
    r"|AirflowSensorTimeout|DownstreamTasksSkipped|DagRunTriggerException|TaskDeferred)"
)
# How Airflow names the module of a Dag file: a digest of its path, and the name of the file.
DAG_FILE = re.compile(r"^unusual_prefix_[0-9a-f]{40}_")
# The SQLSTATE classes of a server that serves nobody: connection, resources, operator intervention.
AWAY_CLASSES = ("08", "53", "57")
TOO_MANY, FIRST_SERVER_ERROR = 429, 500
MOST_CAUSES = 20
LONGEST_S = 3600.0


def says_away(error: BaseException) -> bool:
    """Return whether an error, or what it was raised from, says that a service is away or refuses for now.

    An HTTP status and a SQLSTATE decide where there is one: 404 is an answer of a service that works.
    """
    for one in list_causes(error):
        if (status := find_status(one)) is not None:
            return status == TOO_MANY or status >= FIRST_SERVER_ERROR
        if (code := _find_sqlstate(one)) is not None:
            return code[:2] in AWAY_CLASSES
        if any(AWAY.fullmatch(name) for name in list_names(one)):
            return True
    return False


def matches(error: BaseException, patterns: Sequence[str]) -> bool:
    """Return whether the class of an error, of a base of it, or of what it was raised from, matches as a whole."""
    return any(
        re.fullmatch(one, name) for cause in list_causes(error) for name in list_names(cause) for one in patterns
    )


def is_decided(error: BaseException) -> bool:
    """Return whether the author of the task has decided with this error what becomes of the task."""
    return any(DECIDED.fullmatch(name) for name in list_names(error))


def find_retry_after(error: BaseException, now: datetime) -> float | None:
    """Return the seconds after which the service wants to be asked again, an hour at most, or None."""
    for one in list_causes(error):
        headers = getattr(getattr(one, "response", None), "headers", None) or getattr(one, "headers", None)
        try:
            value = headers.get("Retry-After") if headers is not None else None
        except AttributeError:
            continue
        if value is not None and (seconds := _read_delay(str(value), now)) is not None:
            return min(max(seconds, 0.0), LONGEST_S)
    return None


def name_error(error: BaseException) -> str:
    """Return the name of an error's class, without `builtins`."""
    return list_names(error)[0].removeprefix("builtins.")


def list_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the errors that it was raised from, the outermost first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(seen) < MOST_CAUSES:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def list_names(error: BaseException) -> list[str]:
    """Return the whole names of an error's class and of its bases, the class first.

    A class of a Dag file has the name of the file before its own: Airflow's prefix of the module is left out.
    """
    return [f"{DAG_FILE.sub('', one.__module__)}.{one.__qualname__}" for one in type(error).__mro__]


def find_status(error: BaseException) -> int | None:
    """Return the HTTP status that an error tells of, or None."""
    response = getattr(error, "response", None)
    for found in (
        getattr(response, "status_code", None),
        getattr(response, "status", None),
        getattr(error, "status_code", None),
        getattr(error, "status", None),
        getattr(error, "code", None),
    ):
        if isinstance(found, int) and not isinstance(found, bool) and 100 <= found <= 599:
            return int(found)
    return None


def _find_sqlstate(error: BaseException) -> str | None:
    found = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return found if isinstance(found, str) and found else None


def _read_delay(text: str, now: datetime) -> float | None:
    """Return the seconds that a header asks for, or None if it is no finite number and no date."""
    try:
        seconds = float(text)
    except ValueError:
        pass
    else:
        return seconds if math.isfinite(seconds) else None
    try:
        moment = parsedate_to_datetime(text)
        return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds()
    except (ValueError, OverflowError, TypeError):
        return None
