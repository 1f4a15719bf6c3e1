"""Write docs/reference/ from the code: commands, fleet.yaml, metrics, Airflow settings, patches of Airflow.

python tools/reference.py           write the pages
python tools/reference.py --check   exit with 1 when a page is not what the code says
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import click

from airfleet.cli.main import cli
from airfleet.components import settings
from airfleet.components.model import BrokerNode, BrokerPorts, Credentials, Setting, Site
from airfleet.spec import load, reference
from airfleet.spec.secrets import Secret
from airfleet_provider.compat.patches.registry import PATCHES
from airfleet_provider.contract import log_metrics, metrics
from airfleet_provider.contract.explanation.catalogue import MEANINGS
from airfleet_provider.contract.metrics import Metric

PAGES = Path(__file__).parents[1] / "docs" / "reference"
NOTE = "<!-- Written by tools/reference.py from the code. -->\n"


def describe_commands() -> str:
    """Return a page with the help of every command, as the terminal shows it."""
    context = click.Context(cli, info_name="airfleet", max_content_width=100, terminal_width=100)
    parts = ["# The command line\n", NOTE, _block(cli.get_help(context))]
    for name in cli.list_commands(context):
        verb = cli.get_command(context, name)
        if verb:
            own = click.Context(verb, info_name=name, parent=context, max_content_width=100, terminal_width=100)
            parts += [f"## airfleet {name}\n", _block(verb.get_help(own))]
    return "\n".join(parts)


def describe_fleet() -> str:
    """Return a page with the commented fleet.yaml that `airfleet docs` prints."""
    head = "`airfleet docs` prints this page, `airfleet docs --schema` a JSON Schema for editors.\n"
    return "\n".join(["# fleet.yaml\n", NOTE, head, _block(reference.reference(), "yaml")])


def describe_settings() -> str:
    """Return a page with every setting of Airflow that differs from its default, and with the reason."""
    nothing = Secret("")
    credentials = Credentials(nothing, nothing, nothing, nothing, nothing, Secret("one"), nothing, {})
    site = Site(
        Path("PROJECT"), Path("STATE"), Path("python"), Path("postgres"), "", 8080, 8081, 5432, log_agent_port=1
    )
    fleet = load.parse("name: fleet", file="fleet.yaml", default_name="fleet", cpus=4)
    node = BrokerNode(
        "", Path("rabbitmq"), Path("server"), Path("epmd"), BrokerPorts(5672, 4369, 25672), *[nothing] * 4
    )
    head = "What airfleet writes into airflow.cfg on one machine; `airflow:` in fleet.yaml overrides the rest.\n"
    local = settings.list_settings(fleet, site, credentials, keys=Path("keys"))
    celery = settings.list_settings(fleet, replace(site, broker=node), credentials, keys=Path("keys"))
    return "\n".join(
        [
            "# Airflow's settings\n",
            NOTE,
            head,
            *_tabulate(local),
            "\nWith `executor: celery`, these too:\n",
            *_tabulate([setting for setting in celery if setting not in local]),
            "",
        ]
    )


PATCHES_HEAD = """
A patch replaces functions of Airflow in processes of airfleet's. `airflow airfleet patches` prints this list, and says
for each patch whether the installed Airflow is as the patch requires. With `--output json`, a program can read it. The
command exits with 1 when a patch does not fit.

A process checks what a patch requires of Airflow's code before it applies the patch: how functions can be called,
pieces of their source, or a digest of it. If the code is another, the patch is not applied, and the log says once what
is lost. Then the process goes on with Airflow's own code. Where that would break what airfleet promises, the process
does not start. The last column says which of the two.

**Before airfleet takes a new version of Airflow**, run `airflow airfleet patches` in an environment with that version.
Go through the patches that do not fit, one after another: read what has changed in Airflow, then adapt the patch and
what it requires. Delete the patch if Airflow now does the same;
[these changes of Airflow](../upstream.md) would make some of them needless. Then the patch's own tests must pass.

Several patches have a target in common. They are applied in the order of this list.
"""


def describe_patches() -> str:
    """Return a page with the registry of patches. It is the to-do list for the next version of Airflow."""
    rows = [
        f"| `{patch.name}` | {'<br>'.join(f'`{target}`' for target in patch.targets)} | {patch.processes} "
        f"| {patch.without} | {'the process does not start' if patch.is_required else 'Airflow runs its own code'} |"
        for patch in PATCHES
    ]
    columns = (
        "| patch | what it replaces | in which processes | without it | if Airflow is another |\n|---|---|---|---|---|"
    )
    return "\n".join(["# Patches of Airflow\n", NOTE + PATCHES_HEAD, columns, *rows, ""])


METRICS_HEAD = """
The agents serve these metrics at `/metrics`. Each log agent and each log store serves those of its own table.
[How they are read](../concepts/metrics.md).

Times are in seconds, sizes in bytes, and moments in seconds since 1970. The metrics of the platform are exported by the
active agents process only, and those of the last three tables by each process. Label values beyond the limit of a
metric are exported together, as `_other`.
"""


def describe_metrics() -> str:
    """Return a page with every metric that airfleet exports."""
    parts = ["# Metrics\n", NOTE + METRICS_HEAD]
    logs = (("The log agent", log_metrics.LOG_METRICS), ("The log store", log_metrics.STORE_METRICS))
    for title, group in (*metrics.GROUPS, *logs):
        rows = [_describe_metric(one) for one in group]
        parts += [f"## {title}\n", "| metric | kind | labels | what it says |\n|---|---|---|---|", *rows, ""]
    return "\n".join(parts)


def _describe_metric(one: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in one.labels)
    limit = f" (at most {one.most})" if labels else ""
    buckets = f" Buckets: {', '.join(f'{bound:g}' for bound in one.buckets)}." if one.buckets else ""
    return f"| `{one.name}` | {one.kind} | {labels}{limit} | {one.help}{buckets} |"


EXPLANATIONS_HEAD = """
`airfleet explain` names these causes. [How they are found](../adr/0047-explanations.md).

| severity | meaning |
|---|---|
| broken | a part of the platform does not work, so the work of others waits too |
| held | it stays so until a person acts |
| waiting | it ends by itself |
| note | it keeps nothing from running |

## The causes

They are shown by severity, and then in this order.
"""
EXPLANATIONS_TAIL = """
## The JSON

`airfleet explain --json` and everything else that shows an explanation use one form. Its version is `contract`: it
grows when a key changes its meaning or goes. Moments are ISO 8601 in UTC. A value that is not known is `null`.

| key | value |
|---|---|
| `contract` | the version of this form |
| `subject` | `kind` (`dag`, `run` or `task`), `dag`, `run`, `task`, `map_index` |
| `at` | the moment of the explanation, by the database's clock |
| `state`, `since` | the state of the subject, and since when |
| `blocked` | whether a cause keeps it from running |
| `summary` | one sentence |
| `causes` | the causes, the most severe one first |
| `causes[].code`, `severity` | the names above |
| `causes[].what`, `advice` | sentences |
| `causes[].since`, `until` | moments |
| `causes[].blockers` | what is in the way: `kind`, `name`, `state`, `since`, `where`, `slots`, `subject` |
| `causes[].unnamed_blockers` | how many more blockers there are |
| `causes[].figures` | the numbers in `what`, by name |
| `causes[].commands` | commands to type; the first one helps first |
| `causes[].count` | of how many task instances this is true |
| `runs` | of a Dag: explanations of its oldest active runs |
| `unknown` | sentences on what could not be read |

`airfleet top --json` has a form of its own, with `contract`, `states`, `runs`, `last_minute`, `components`, `lease`,
`slot_pools`, `queues`, `hosts`, `workers` and `slowest`; ages are in seconds.
"""


def describe_explanations() -> str:
    """Return a page with the causes that an explanation may name, and with the form of its JSON."""
    rows = [f"| `{code.value}` | {one.when} | {one.do} |" for code, one in MEANINGS.items()]
    table = "| cause | when | first |\n|---|---|---|"
    return "\n".join(["# Explanations\n", NOTE + EXPLANATIONS_HEAD, table, *rows, EXPLANATIONS_TAIL])


def _tabulate(chosen: Iterable[Setting]) -> list[str]:
    return ["| setting | why |\n|---|---|", *(f"| `{one.section}.{one.key}` | {one.why} |" for one in chosen)]


def _block(text: str, language: str = "text") -> str:
    return f"```{language}\n{text.rstrip()}\n```\n"


def list_pages() -> dict[Path, str]:
    return {
        PAGES / "commands.md": describe_commands(),
        PAGES / "fleet.md": describe_fleet(),
        PAGES / "settings.md": describe_settings(),
        PAGES / "patches.md": describe_patches(),
        PAGES / "explanations.md": describe_explanations(),
        PAGES / "metrics.md": describe_metrics(),
    }


def main() -> None:
    stale = [path for path, text in list_pages().items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv:
        for path in stale:
            print(
                f"{path.relative_to(PAGES.parents[1])} is not what the code says: python tools/reference.py",
                file=sys.stderr,
            )
        sys.exit(1 if stale else 0)
    PAGES.mkdir(parents=True, exist_ok=True)
    for path in stale:
        path.write_text(list_pages()[path])


if __name__ == "__main__":
    main()
