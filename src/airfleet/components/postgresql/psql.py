"""How psql is called on a database host: the same everywhere, whatever is set in somebody's `.psqlrc`."""

from __future__ import annotations

SOCKETS = "/run/postgresql"
USER = "postgres"
# In front of a command of root's, for what is the server's: root would follow a link that somebody put there.
AS_SERVER = f"runuser -u {USER} --"


def build_command(database: str = "postgres", *, login: str = USER, sockets: str = SOCKETS) -> str:
    """The command of a shell that logs in through the server's sockets, and prints nothing but the values of rows.

    It ends at the first statement that fails, with a code other than 0.
    """
    return f"psql -XAtq -v ON_ERROR_STOP=1 -h {sockets} -U {login} {database}"
