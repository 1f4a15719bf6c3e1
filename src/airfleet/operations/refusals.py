"""Which of Airflow's own commands must not be run by hand on a platform that airfleet runs, and what to do instead."""

from __future__ import annotations

from collections.abc import Sequence

from airfleet.errors import UsageError

PROCESSES = frozenset({"api-server", "dag-processor", "kerberos", "scheduler", "standalone", "triggerer"})
SCHEMAS = frozenset({"db", "fab-db"})
# What looks only.
CELERY = frozenset({"list-workers"})
RUNS = {True: "systemd runs it: `airfleet status` shows it, `airfleet apply` starts it", False: "`airfleet up` runs it"}


def check(arguments: Sequence[str], *, fleet: bool) -> None:
    """Raise UsageError for a command line of Airflow that would run beside, or undo, what airfleet does itself."""
    words = [word for word in arguments if not word.startswith("-")][:2]
    if {"-h", "--help"} & set(arguments) or not words:
        return
    group, verb = words[0], words[1] if len(words) > 1 else ""
    name = " ".join(filter(None, words))
    if group in PROCESSES or (group == "celery" and verb and verb not in CELERY):
        hint = "airfleet workers drain | resume" if fleet and group == "celery" else RUNS[fleet]
        raise UsageError(f"`airflow {name}` would run beside what airfleet runs", hint=hint)
    if group == "airfleet" and verb:
        raise UsageError(f"`airflow {name}` is a part of airfleet, and not to be run by hand", hint=RUNS[fleet])
    if group in SCHEMAS and verb == "reset":
        raise UsageError(f"`airflow {name}` removes everything that the platform knows", hint="airfleet db restore")
    if group in SCHEMAS and verb in ("migrate", "downgrade"):
        hints = {
            (True, "migrate"): "`airfleet apply` does it; `airfleet upgrade` moves a fleet to another version",
            (True, "downgrade"): "airfleet upgrade --back",
            (False, "migrate"): "`airfleet up` does it",
            (False, "downgrade"): "airfleet db restore",
        }
        raise UsageError(f"`airflow {name}` changes the schema below what runs", hint=hints[fleet, verb])
