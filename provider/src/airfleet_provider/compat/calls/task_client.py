"""The client with which a supervisor reports to the execution API."""

from __future__ import annotations

from contextlib import suppress


def keep_parts() -> None:
    """Make what each client needs, once, in the process from which supervisors are forked.

    The first client imports its transport, loads the certificates that the whole world trusts, and lets Python compare
    classes of httpx with every class that there is: 16 MiB in each supervisor. Certificates of one's own are read by
    each supervisor, because they may change.
    """
    # Airflow is imported here: not each process that imports this module has it by then.
    from airflow.sdk.api import client  # noqa: PLC0415

    if not any(
        (client.API_SSL_CERT_PATH, client.API_SSL_CA_FILE_PATH, client.API_CLIENT_SSL_CERT, client.API_CLIENT_SSL_KEY)
    ):
        # Settings of a proxy may forbid any client. Then tasks fail and show the reason: this process has other work.
        with suppress(Exception):
            client.Client(base_url="http://localhost", token="").close()
