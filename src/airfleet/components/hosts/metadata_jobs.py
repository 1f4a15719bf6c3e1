"""The jobs of the first scheduler host on the metadata database: schema, users, fleet.yaml's objects, clean-up."""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Iterable, Sequence

from airfleet.components import metadata
from airfleet.components.host_model import SERVER_USER, Job, Part, Place, Stage
from airfleet.components.hosts import airflow, database_urls
from airfleet.components.model import File, reveal
from airfleet.components.postgresql import own_server
from airfleet.components.rabbitmq import own_broker
from airfleet.components.rabbitmq.server import list_logins
from airfleet.spec.secrets import Secret
from airfleet_provider.contract.migrations import runner
from airfleet_provider.contract.migrations.runner import Migration, MigrationKind

CLEANUP = "metadata-cleanup"


def describe(place: Place) -> Part:
    """The jobs of one scheduler host; only the first such host has any."""
    if place.host != place.fleet.with_role("scheduler")[0]:
        return Part(name="metadata")
    return Part(
        name="metadata",
        jobs=(
            *own_server.list_jobs(place),
            *own_broker.list_jobs(place, list_logins(place)),
            _fill(place),
            *clean_up(place, runner.read_own()),
        ),
    )


def _fill(place: Place) -> Job:
    """Describe the job that runs Airflow's commands for the schema, users and the objects of fleet.yaml."""
    site = place.site(airflow.HOME)
    secrets = place.credentials.platform
    own = {name: metadata.connect_database(site, secrets, name) for name in place.fleet.databases}
    component = metadata.describe(
        site,
        secrets,
        connections={**own, **place.objects.connections},
        variables=place.objects.variables,
        slot_pools=place.fleet.slot_pools,
        versions=f"{place.objects.versions} {runner.compute_digest(runner.read_own())}",
        access=place.objects.access,
        migrate_own=True,
    )
    (process,) = component.processes
    commands = [[reveal(word) for word in command[1:]] for command in process.commands]
    more = {key: reveal(value) for key, value in process.env.items()}
    script = f"{_write_inputs(process.inputs)}{administer(place, commands, **more).reveal()}# {process.fingerprint}\n"
    what = "schema, users, connections, variables"
    return Job("metadata", what, Stage.METADATA, Secret(script), SERVER_USER, timeout_s=600)


def clean_up(place: Place, migrations: Iterable[Migration]) -> tuple[Job, ...]:
    """The job that removes from airfleet's own tables what only former versions used; none where no migration does."""
    post = [one for one in migrations if one.kind is MigrationKind.POST]
    if not post:
        return ()
    script = administer(place, [("airfleet", "migrate", "--post")])
    what = "remove from airfleet's own tables what only former versions used"
    version = runner.compute_digest(post)
    return (Job(CLEANUP, what, Stage.CLEANUP, script, SERVER_USER, timeout_s=600, version=version),)


def _write_inputs(files: Iterable[File]) -> str:
    """Return shell lines that write the input files of a job and remove them when the job ends.

    The lines first remove the files of a job that was killed.
    """
    listed = tuple(files)
    [folder] = {file.path.parent for file in listed}
    lines = [f"rm -rf {folder}", f"trap 'rm -rf {folder}' EXIT", f"mkdir -p -m 700 {folder}"]
    for file in listed:
        content = base64.b64encode(reveal(file.content).encode()).decode()
        # The content goes through standard input, because every user of the host can read a program's arguments.
        lines += [f"(umask 077; base64 -d > {file.path}) <<'END_OF_INPUT'", *textwrap.wrap(content, 76), "END_OF_INPUT"]
    return "\n".join([*lines, ""])


def administer(place: Place, commands: Iterable[Sequence[str]], **more: str) -> Secret:
    """Return a script that runs commands of Airflow on a scheduler host, connected to PostgreSQL itself."""
    exports = {
        **airflow.environment(place, airflow.HOME),
        **more,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database_urls.direct_dsn(place),
    }
    exports |= {key: reveal(value) for key, value in place.objects.environment.items()}
    lines = [f"export {key}={_word(value)}" for key, value in exports.items()]
    lines.append(f"cd {airflow.STATE}")
    lines += [" ".join([f"{place.runtime}/bin/airflow", *map(_word, words)]) for words in commands]
    return Secret("\n".join([*lines, ""]))


def _word(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
