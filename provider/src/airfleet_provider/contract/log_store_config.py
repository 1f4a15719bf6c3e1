"""The file that configures the log store of a fleet (`AIRFLEET_LOG_STORE`), and how others reach the store.

The control side writes the file. It holds the tokens of those who search, and perhaps a login, so only the store may
read it.
"""

from __future__ import annotations

import hashlib
import hmac
from enum import StrEnum

# Of `[airfleet]` in airflow.cfg: the URLs of all log stores with spaces between, and the file of their authorities.
STORES, AUTHORITIES = "log_stores", "log_store_authorities"


class LogStoreKey(StrEnum):
    """The keys of the file."""

    # Where the store listens, and what it proves itself with: `address`, `port`, `certificate`, `key`, `authorities`.
    SERVER = "server"
    # The folder of the index, which has a folder for each day.
    INDEX = "index"
    # The OpenSearch that keeps the lines in the place of the index: `url` with its login, `prefix` of its indexes.
    OPENSEARCH = "opensearch"
    # Days for which lines are kept.
    KEEP_DAYS = "keep_days"
    # The tokens of those who may search. During a rotation, the former one counts too.
    TOKENS = "tokens"


def derive_search_token(jwt_secret: str) -> str:
    """Return the bearer token with which web and scheduler hosts search the log store; no worker can derive it."""
    return hmac.new(jwt_secret.encode(), b"airfleet log search", hashlib.sha256).hexdigest()
