"""The rights of each login at the broker, as definitions that RabbitMQ loads (ADR 31).

RabbitMQ creates the queues from the definitions. No client may create, bind or delete anything. The scheduler publishes
through the default exchange, which routes to every queue by its name. No other login may publish. The workers of a pool
may read the queues of their pool.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from airfleet.spec.secrets import Secret, by_login

# A worker acknowledges a message when its task ends. With RabbitMQ's default of 30 minutes, the worker of a longer task
# would lose it.
CONSUMER_TIMEOUT_MS = 7 * 24 * 3600 * 1000
NOTHING = "^$"
# The default exchange routes a message to the queue whose name is the routing key.
PUBLISH = r"^amq\.default$"
PUBLISHER = "publisher"
# The prefix of each pool's login. No other login at the broker has it.
CONSUMER = "pool-"


@dataclass(frozen=True, slots=True)
class BrokerLogin:
    """A user of the broker: the exchanges that it may publish to, and the queues that it may read."""

    name: str
    password: Secret
    write: str = NOTHING
    reads: tuple[str, ...] = ()

    @property
    def read(self) -> str:
        return f"^({'|'.join(map(re.escape, self.reads))})$" if self.reads else NOTHING


def publisher(password: Secret) -> BrokerLogin:
    """Return the login of the scheduler, which publishes tasks and reads no queue."""
    return BrokerLogin(PUBLISHER, password, write=PUBLISH)


def consumer(pool: str, password: Secret, queues: tuple[str, ...]) -> BrokerLogin:
    """Return the login of a pool's workers, which read its queues and publish nothing."""
    return BrokerLogin(f"{CONSUMER}{pool}", password, reads=queues)


def render_definitions(
    vhost: str, logins: Iterable[BrokerLogin], queues: Iterable[str], kind: Literal["classic", "quorum"]
) -> str:
    """Return the definitions of a virtual host. RabbitMQ does not change what exists, such as a queue with messages."""
    # During a rotation there are two logins with the same rights.
    valid = [(name, secret, login) for login in logins for name, secret in by_login(login.name, login.password).items()]
    users = [
        {
            "name": name,
            "password_hash": hash_password(name, secret),
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": "",
        }
        for name, secret, _ in valid
    ]
    permissions = [
        {"user": name, "vhost": vhost, "configure": NOTHING, "write": login.write, "read": login.read}
        for name, _, login in valid
    ]
    arguments = {"x-queue-type": kind} if kind == "quorum" else {}
    made = [
        {"name": queue, "vhost": vhost, "durable": True, "auto_delete": False, "arguments": arguments}
        for queue in queues
    ]
    whole = {"vhosts": [{"name": vhost}], "users": users, "permissions": permissions, "queues": made}
    return json.dumps(whole, indent=1)


def hash_password(user: str, password: Secret) -> str:
    """Return RabbitMQ's salted hash of a password. The same password gives the same salt, so files do not change."""
    salt = hashlib.sha256(f"{user}:{password.reveal()}".encode()).digest()[:4]
    return base64.b64encode(salt + hashlib.sha256(salt + password.reveal().encode()).digest()).decode()
