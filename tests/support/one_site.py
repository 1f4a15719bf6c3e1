"""One machine's folders, ports and secrets as data, for tests of its components."""

from __future__ import annotations

from pathlib import Path

from airfleet.components.model import Credentials, Site
from airfleet.spec.secrets import Secret

PASSWORDS = [f"s3cret-{number}" for number in range(8)]
CREDENTIALS = Credentials(
    *(Secret(PASSWORDS[0]), Secret(PASSWORDS[1]), Secret(PASSWORDS[2])),
    *(Secret(PASSWORDS[3]), Secret(PASSWORDS[4]), Secret(PASSWORDS[5])),
    Secret(PASSWORDS[6]),
    databases={"warehouse": Secret(PASSWORDS[7])},
)
SITE = Site(
    project=Path("/srv/100% mine"),
    state=Path("/srv/state"),
    python=Path("/usr/bin/python"),
    postgres_bin=Path("/opt/postgres"),
    instance="abc",
    api_port=8081,
    execution_port=8081,
    database_port=15432,
)
