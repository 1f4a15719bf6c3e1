"""`airfleet export …`: take a platform elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from airfleet.cli import options
from airfleet.cli.console import say
from airfleet.errors import UsageError


@click.group("export", short_help="Take the platform elsewhere: to Kubernetes.")
def command() -> None:
    """Write what another way of running Airflow needs, from fleet.yaml and the Dags.

    \b
    Example:
      airfleet export kubernetes --output k8s --image registry.example.com/airflow
    """


@command.command("kubernetes")
@options.project
@click.option("--output", type=click.Path(path_type=Path), required=True, help="A new folder for the files.")
@click.option("--image", "repository", required=True, help="The repository of the image, without a tag.")
@click.option("--pods", multiple=True, metavar="POOL", help="A pool whose tasks run in pods of their own. Repeatable.")
@click.option("--airflow", "version", help="The version of Airflow.  [default: the newest that airfleet has a lock of]")
def kubernetes_command(
    project: Path, output: Path, repository: str, pods: tuple[str, ...], version: str | None
) -> None:
    """Write values.yaml for the official Helm chart, an image recipe, rules, dashboards and a README.

    Each pool becomes a set of Celery workers, or with --pods a pod for each task; with both, Airflow runs two executors
    at once. Routing, options, connections and variables come along. No file has a secret: the README lists the Secrets
    to create. The image's tag is the release that the project's Dags are now.

    \b
    Example:
      airfleet export kubernetes --output k8s --image registry.example.com/airflow
      airfleet export kubernetes --output k8s --image registry.example.com/airflow --pods memory
    """
    from airfleet.operations.kubernetes import export  # noqa: PLC0415 - `--help` needs none of it
    from airfleet.workspace import airflow_version  # noqa: PLC0415
    from airfleet.workspace.project import find_project, read_fleet  # noqa: PLC0415
    from airfleet_provider.contract import release_archive  # noqa: PLC0415

    if output.exists():
        raise UsageError("it exists already", where=str(output), hint="name a new folder")
    place = find_project(project)
    fleet = read_fleet(place)
    tree, _ = release_archive.read(place)
    files = export.build(
        fleet,
        airflow=version or [*airflow_version.find_locks()][-1],
        release=tree.id,
        repository=repository,
        pods=pods,
        files=[name for name in (fleet.requirements or "requirements.txt", "include") if (place / name).exists()],
    )
    output.mkdir(parents=True)
    for name, text in files.items():
        (output / name).write_text(text, encoding="utf-8")
    say(f"{output}: wrote {', '.join(files)}")
