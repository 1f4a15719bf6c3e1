"""Asks the directory for users again, so that somebody who left it loses the sessions, also if nobody logs in.

Each api-server has a thread that does so; they share the users among them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from airfleet_provider.access.directory_errors import DirectoryError, UnclearUserError
from airfleet_provider.access.directory_store import DirectoryStore, RefusedUserError
from airfleet_provider.access.ldap_client import LdapClient
from airfleet_provider.contract.directory import Directory, LdapSource
from airfleet_provider.contract.text import one_line

log = logging.getLogger(__name__)

EVERY_S = 30.0


def sweep(store: DirectoryStore, client: LdapClient) -> int:
    """Ask for the users that are due, and return for how many the directory answered.

    Raises:
        DirectoryError: The directory does not answer. Users about whom it said nothing stay as they are.
    """
    claimed = store.claim()
    if not claimed:
        return 0
    with client.open() as session:
        for one in claimed:
            try:
                found = session.find(one.name)
                changed = store.confirm(one, found[1] if found else None)
            except UnclearUserError as error:
                # Else nobody behind this user would ever be asked for: all of a turn are due again together.
                log.error("the directory does not confirm %s: %s; %s", one_line(one.name), error.what, error.hint)
                continue
            except RefusedUserError as error:
                log.error("the roles of %s cannot be changed: %s", one_line(one.name), error)
                continue
            if changed:
                log.warning("the user %s %s", one_line(one.name), changed)
    return len(claimed)


def start(directory: Directory, sleep: Callable[[float], None] = time.sleep) -> None:
    """Ask in a thread of this process, as long as it runs. An OpenID provider cannot be asked for users."""
    if not isinstance(directory.source, LdapSource):
        return
    store, client = DirectoryStore(directory), LdapClient(directory.source)

    def work() -> None:
        while True:
            try:
                sweep(store, client)
            except DirectoryError as error:
                log.error("the directory does not confirm users: %s; %s", one_line(error.what), one_line(error.hint))
            except Exception as error:  # the database may be down; the next turn tries again
                log.error("users of the directory are not confirmed: %s", one_line(error))
            sleep(EVERY_S)

    threading.Thread(target=work, name="airfleet-directory", daemon=True).start()
