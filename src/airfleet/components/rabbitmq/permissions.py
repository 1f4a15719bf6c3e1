"""The rights of each login at the broker, on one machine and on many, as the definitions that RabbitMQ loads.

RabbitMQ makes the queues out of the definitions, and no client may make, bind or remove anything. The scheduler
publishes through the default exchange, which leads to every queue by its name; nobody else publishes at all. The
workers of a pool read their own queues.
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

NOTHING = "^$"
# Through it a message reaches any queue by the queue's name.
PUBLISH = r"^amq\.default$"
PUBLISHER = "publisher"
# How the login of a pool begins; no other login at the broker has such a name.
CONSUMER = "pool-"


@dataclass(frozen=True, slots=True)
class BrokerLogin:
    """A user of the broker: what it may publish to, and the queues that it may read."""

    name: str
    password: Secret
    write: str = NOTHING
    reads: tuple[str, ...] = ()

    @property
    def read(self) -> str:
        return f"^({'|'.join(map(re.escape, self.reads))})$" if self.reads else NOTHING


def publisher(password: Secret) -> BrokerLogin:
    """The scheduler, which sends tasks and reads nothing."""
    return BrokerLogin(PUBLISHER, password, write=PUBLISH)


def consumer(pool: str, password: Secret, queues: tuple[str, ...]) -> BrokerLogin:
    """The workers of a pool, which read its queues and send nothing."""
    return BrokerLogin(f"{CONSUMER}{pool}", password, reads=queues)


def render_definitions(
    vhost: str, logins: Iterable[BrokerLogin], queues: Iterable[str], kind: Literal["classic", "quorum"]
) -> str:
    """What RabbitMQ makes of itself; what is there already, such as a queue with its messages, stays as it is."""
    # While a password is exchanged there are two logins with the same rights.
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
    """RabbitMQ's salted hash; the salt is the same at every apply, so that nothing changes for nothing."""
    salt = hashlib.sha256(f"{user}:{password.reveal()}".encode()).digest()[:4]
    return base64.b64encode(salt + hashlib.sha256(salt + password.reveal().encode()).digest()).decode()
