"""A backup of the metadata database as one file on its host, read back as far as its list of contents."""

from __future__ import annotations

from airfleet.components.hosts.base import LIB
from airfleet.errors import AirfleetError
from airfleet.runners.ssh.connection import Connection

FOLDER = LIB / "backups"
MOST_S = 3600.0
# A dump is compressed; half of the database's size is more than one was seen to take.
SCRIPT = """\
set -e
umask 077
mkdir -p {folder}
need=$({psql} -c "SELECT pg_database_size('airflow') / 2 / 1024")
free=$(df -Pk {folder} | awk 'NR > 1 {{ print $4 }}')
[ "$free" -gt "$need" ] || {{ echo "not enough free space on {folder}: $free KiB, $need needed" >&2; exit 1; }}
rm -f {folder}/.new-*
runuser -u postgres -- pg_dump -h /run/postgresql --format=custom airflow > {folder}/.new-{name}
pg_restore --list {folder}/.new-{name} | grep -q 'TABLE DATA public dag_run '
sync {folder}/.new-{name}
mv {folder}/.new-{name} {folder}/{name}
"""


def take(connection: Connection, name: str) -> str:
    """Where the backup lies on the primary, once it is whole and can be read; raises AirfleetError otherwise."""
    if set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789.-"):
        raise AirfleetError(f"no name for a backup: {name}")
    psql = "runuser -u postgres -- psql -XAtq -h /run/postgresql postgres"
    script = SCRIPT.format(folder=FOLDER, name=f"{name}.dump", psql=psql)
    connection.check(script, timeout_s=MOST_S, what="the backup of the metadata database")
    return f"{connection.host.name}:{FOLDER}/{name}.dump"
