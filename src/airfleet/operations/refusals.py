"""Airflow's commands that a user must not run on a platform of airfleet, each with what to do instead."""

from __future__ import annotations

from collections.abc import Sequence

from airfleet.errors import UsageError

PROCESSES = frozenset({"api-server", "dag-processor", "kerberos", "scheduler", "standalone", "triggerer"})
SCHEMAS = frozenset({"db", "db-manager", "fab-db"})
# Commands that change nothing.
CELERY = frozenset({"list-workers"})
RUNS = {True: "systemd runs it: `airfleet status` shows it, `airfleet apply` starts it", False: "`airfleet up` runs it"}

# Options whose value is a secret, each with a way to avoid it.
_ASKS = "leave the password out and Airflow prompts for it, or use --use-random-password"
_IN_FLEET = "name the {} in fleet.yaml, its secret by `env`, `file` or `command`"
SECRETS = {
    ("users", "create"): (("--password", "-p"), _ASKS),
    ("users", "reset-password"): (("--password", "-p"), _ASKS),
    ("connections", "add"): (
        ("--conn-uri", "--conn-password", "--conn-json", "--conn-extra"),
        _IN_FLEET.format("connection"),
    ),
}


def warn_of_secret(arguments: Sequence[str]) -> str | None:
    """Return a warning if an argument is a secret, or None. While a command runs, every user can read its arguments.

    The warning does not contain the secret.
    """
    group, verb = [*[word for word in arguments if not word.startswith("-")][:2], "", ""][:2]
    if (group, verb) == ("variables", "set"):
        return f"every user of this machine can read the value in `variables set`: {_IN_FLEET.format('variable')}"
    options, instead = SECRETS.get((group, verb), ((), ""))
    for word in arguments:
        for option in options:
            is_short = not option.startswith("--")
            if word == option or word.startswith(option if is_short else f"{option}="):
                return f"every user of this machine can read what follows {option}: {instead}"
    return None


def check(arguments: Sequence[str], *, fleet: bool) -> None:
    """Check that a command of Airflow does not conflict with airfleet.

    Raises:
        UsageError: The command would run beside a process of airfleet, or undo what airfleet does.
    """
    words = [word for word in arguments if not word.startswith("-")][:2]
    if {"-h", "--help"} & set(arguments) or not words:
        return
    group, verb = words[0], words[1] if len(words) > 1 else ""
    name = " ".join(filter(None, words))
    if group in PROCESSES or (group == "celery" and verb and verb not in CELERY):
        hint = "airfleet workers drain | resume" if fleet and group == "celery" else RUNS[fleet]
        raise UsageError(f"`airflow {name}` would run beside the process that airfleet runs", hint=hint)
    if group == "airfleet" and verb:
        raise UsageError(f"`airflow {name}` is a part of airfleet; do not run it by hand", hint=RUNS[fleet])
    if (group, verb) == ("dags", "test"):
        raise UsageError(
            "`airflow dags test` stores Dags and a run in the platform's database, and clears task instances there",
            hint="`airfleet dag test` runs a Dag in a database of its own",
        )
    if group in SCHEMAS and verb == "reset":
        raise UsageError(f"`airflow {name}` removes all data of the platform", hint="airfleet db restore")
    if group in SCHEMAS and verb in ("migrate", "downgrade"):
        hints = {
            (True, "migrate"): "`airfleet apply` does it; `airfleet upgrade` moves a fleet to another version",
            (True, "downgrade"): "airfleet upgrade --back",
            (False, "migrate"): "`airfleet up` does it",
            (False, "downgrade"): "airfleet db restore",
        }
        raise UsageError(f"`airflow {name}` changes the schema under running processes", hint=hints[fleet, verb])
