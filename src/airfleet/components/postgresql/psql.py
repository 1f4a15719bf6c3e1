"""The command line of psql on a database host. It ignores every `.psqlrc`."""

from __future__ import annotations

SOCKETS = "/run/postgresql"
USER = "postgres"
# A prefix that runs a command of root as the server's user. As root, it would follow a link in the server's folders.
AS_SERVER = f"runuser -u {USER} --"


def build_command(database: str = "postgres", *, login: str = USER, sockets: str = SOCKETS) -> str:
    """Return a shell command that logs in through the server's socket and prints only the values of rows.

    The command stops at the first statement that fails, and then exits with a code other than 0.
    """
    return f"psql -XAtq -v ON_ERROR_STOP=1 -h {sockets} -U {login} {database}"
