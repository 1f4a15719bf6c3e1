"""What code outside of tasks may use, by the lists of fleet.yaml: Dag files, callbacks and triggers (ADR 80)."""

from __future__ import annotations

import functools
import sys

from airfleet_provider.access.known_lists import KnownLists, open_lists
from airfleet_provider.contract.task_lists import ListKind

TRIGGERER = "triggerer"


def check_file(known: KnownLists, kind: str, name: str, is_written: bool, file: str) -> None:
    """Return if the code of a Dag file may use something: if a Dag of the file may.

    Raises:
        RefusedReadError: It may not.
    """
    if kind == ListKind.XCOM:
        known.check_xcoms_of_file(name, file, writes=is_written)
    else:
        known.check_file(ListKind(kind), name, file)


def check_trigger(known: KnownLists, kind: str, name: str, _: bool, __: str) -> None:
    """Return if triggers may use something.

    Raises:
        RefusedReadError: They may not.
    """
    if kind == ListKind.XCOM:
        known.check_xcoms_of_trigger(name)
    else:
        known.check_trigger(ListKind(kind), name)


@functools.cache
def register() -> None:
    """Let a triggerer that this process starts obey the lists, once."""
    from airflow.utils import cli_action_loggers  # noqa: PLC0415 - it costs what only a command needs

    cli_action_loggers.register_pre_exec_callback(limit_triggers)


def limit_triggers(sub_command: str, **_: object) -> None:
    """Limit the triggers of this process, if it is a triggerer.

    Raises:
        SystemExit: This Airflow does not fit, and triggers would get all.
    """
    if sub_command != TRIGGERER:
        return
    from airfleet_provider.compat.patches import listed_reads  # noqa: PLC0415 - as above

    try:
        listed_reads.limit_triggers(functools.partial(check_trigger, open_lists()))
    except Exception as error:
        # Airflow goes on after an error of this function, but not after this one.
        print(f"airfleet: the triggerer was not started: {error}", file=sys.stderr)
        raise SystemExit(1) from None
