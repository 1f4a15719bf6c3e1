"""`airfleet release …`: build releases of a project's Dags, make one live, roll back."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from airfleet.cli import options, release_check
from airfleet.cli.console import open_console, say
from airfleet.cli.environment import enter
from airfleet.cli.release_view import describe, describe_state, explain, format_moment
from airfleet.errors import AirfleetError, UsageError
from airfleet.releases import manifest
from airfleet.releases.repository import WAIT_S, Repository
from airfleet.workspace import airflow_version
from airfleet.workspace.actor import find_actor
from airfleet.workspace.project import find_project, find_state, read_fleet
from airfleet_provider.contract import release_archive, wording
from airfleet_provider.contract.release_list import Deployment, Release
from airfleet_provider.contract.release_schema import FINISHED, DeploymentAction, DeploymentState

if TYPE_CHECKING:
    from airfleet.releases.checks.findings import Finding
    from airfleet.spec.fleet import Fleet

# What only one of these commands needs is imported there.
# ruff: noqa: PLC0415

watch_option = click.option("--watch", is_flag=True, help="Wait until the watch ends; exit with 1 after a rollback.")
tests_option = click.option(
    "--tests/--no-tests",
    "with_tests",
    default=None,
    help="Run the project's own tests on this machine as your user. Default: only if the platform runs on one machine.",
)
message_option = click.option("-m", "--message", default="", help="The reason, for the release and the audit trail.")


@click.group("release", short_help="Build releases of the Dags, make one live, roll back.")
def command() -> None:
    """Build immutable releases of a project's Dags, make one live for new runs, roll back to an earlier one.

    \b
    Example:
      airfleet release deploy -m "new tariff"
      airfleet release rollback
    """


@command.command("build")
@options.project_option
@options.state
@message_option
def build(project: Path, state: Path | None, message: str) -> None:
    """Build a release of the project's present Dags and print its id. The live release does not change."""
    _enter(project, state, with_tests=False)
    _, release, _ = _build(project, state, message)
    click.echo(release)


@command.command("check")
@options.project_option
@options.state
@click.option("--format", "format_name", type=click.Choice(release_check.FORMATS), default="text", show_default=True)
@click.option("--fix", is_flag=True, help="First rewrite Airflow 2 code: what ruff can, and imports that it leaves.")
@tests_option
def check(project: Path, state: Path | None, format_name: str, fix: bool, with_tests: bool | None) -> None:
    """Check what would break if the project's present Dags went live. Exits with 1 if a check finds an error.

    \b
    Example:
      airfleet release check --format sarif > checks.sarif
    """
    if fix:
        from airfleet.operations.migration import rewriting

        rewriting.fix(find_project(project))
    _enter(project, state, with_tests)
    repository, release, contents = _build(project, state, "")
    findings = _examine(repository, release, contents, project, with_tests=with_tests)
    release_check.write(findings, format_name)
    raise SystemExit(1 if release_check.find_errors(findings) else 0)


@command.command("deploy")
@options.project_option
@options.state
@message_option
@click.option("--no-check", is_flag=True, help="Skip the checks. Dag files that do not load are still refused.")
@tests_option
@watch_option
def deploy(
    project: Path, state: Path | None, message: str, no_check: bool, with_tests: bool | None, watch: bool
) -> None:
    """Build a release of the project's present Dags, check it, and make it live unless a check finds an error.

    The command returns when the release is live. The platform then watches it for the time set under `releases` in
    fleet.yaml. It rolls back by itself if files do not load, if Dags with unfinished runs are missing, or if more
    tasks fail than before.

    The project's own tests run on this machine as your user. For a fleet they run only with --tests. The tests get
    PATH, HOME and the locale. They get neither your SSH agent nor other environment variables.

    \b
    Example:
      airfleet release deploy -m "new tariff" --watch
    """
    begun = time.monotonic()
    _require_releases(project)
    _enter(project, state, with_tests)
    repository, release, contents = _build(project, state, message)
    if not no_check:
        findings = _examine(repository, release, contents, project, with_tests=with_tests)
        release_check.report(findings)
        if release_check.find_errors(findings):
            raise AirfleetError(
                "the release is not live: the checks found errors",
                where=release_archive.shorten(release),
                hint="the live release has not changed",
            )
    _promote(repository, release, project, message, begun, watch=watch)


@command.command("promote")
@click.argument("release")
@options.project_option
@options.state
@message_option
@watch_option
def promote(release: str, project: Path, state: Path | None, message: str, watch: bool) -> None:
    """Make a release that is already built live, and watch it. The beginning of the release's id is enough."""
    begun = time.monotonic()
    _require_releases(project)
    repository = _open(project, state)
    _promote(repository, repository.find(release).id, project, message, begun, watch=watch)


@command.command("rollback")
@click.argument("release", required=False)
@options.project_option
@options.state
@message_option
def rollback(release: str | None, project: Path, state: Path | None, message: str) -> None:
    """Make an earlier release live again: the named one, or the one before the live release."""
    begun = time.monotonic()
    _require_releases(project)
    repository = _open(project, state)
    target = repository.find(release).id if release else None
    number = repository.request(DeploymentAction.ROLLBACK, target, actor=find_actor(), reason=message)
    _await_live(repository, number, "rollback", begun)


@command.command("list")
@options.project_option
@options.state
@click.option("-n", "--limit", type=click.IntRange(1), default=20, show_default=True)
@options.as_json
def list_releases(project: Path, state: Path | None, limit: int, as_json: bool) -> None:
    """List the releases, the live one first, then the newest."""
    from rich.table import Table

    releases = _open(project, state).list_releases(limit)
    if as_json:
        click.echo(json.dumps([describe(release) for release in releases], indent=2))
        return
    if not releases:
        say("there is no release yet: with `dags: releases` in fleet.yaml, `airfleet release deploy` makes one")
        return
    table = Table("release", "", "built", "by", "commit", "message", "verdict")
    for release in releases:
        commit = release.manifest.get("commit") or {}
        short = commit.get("id", "")[:8] + ("+" if commit.get("dirty") else "")
        table.add_row(
            release_archive.shorten(release.id),
            describe_state(release),
            format_moment(release.built_at),
            release.built_by,
            short,
            release.message,
            release.verdict or "",
        )
    open_console().print(table)


@command.command("show")
@click.argument("release", required=False)
@options.project_option
@options.state
def show(release: str | None, project: Path, state: Path | None) -> None:
    """Print a release as JSON. Without a name, print the live release and the last 10 deployments."""
    repository = _open(project, state)
    if release:
        found = repository.find(release)
        click.echo(json.dumps(describe(found) | {"manifest": found.manifest}, indent=2))
        return
    live = repository.find_live()
    lately = [asdict(deployment) for deployment in repository.list_deployments(10)]
    click.echo(json.dumps({"live": describe(live) if live else None, "deployments": lately}, indent=2, default=str))


@command.command("diff")
@click.argument("old", required=False)
@click.argument("new", required=False)
@options.project_option
@options.state
def diff(old: str | None, new: str | None, project: Path, state: Path | None) -> None:
    """List the files that differ between two releases. OLD is by default the live release, NEW the project's files."""
    repository = _open(project, state)
    before = repository.find(old).manifest["files"] if old else _files(repository.find_live())
    after = repository.find(new).manifest["files"] if new else manifest.read_tree(find_project(project))[0].digests()
    difference = manifest.compare(before, after)
    for mark, paths in (("+", difference.added), ("-", difference.removed), ("~", difference.changed)):
        for path in paths:
            click.echo(f"{mark} {path}")


@command.command("pin")
@click.argument("release")
@options.project_option
@options.state
def pin(release: str, project: Path, state: Path | None) -> None:
    """Keep the files of a release, whatever its age, until `unpin`. Prints the release's id."""
    _pin(release, project, state, pinned=True)


@command.command("unpin")
@click.argument("release")
@options.project_option
@options.state
def unpin(release: str, project: Path, state: Path | None) -> None:
    """Let `prune` remove the files of a release once nothing needs them. Prints the release's id."""
    _pin(release, project, state, pinned=False)


def _pin(release: str, project: Path, state: Path | None, *, pinned: bool) -> None:
    repository = _open(project, state)
    found = repository.find(release).id
    repository.pin(found, pinned=pinned)
    click.echo(found)


@command.command("prune")
@options.project_option
@options.state
@click.option("--dry-run", is_flag=True, help="Only list which releases would be removed, and why the others stay.")
@options.as_json
def prune(project: Path, state: Path | None, dry_run: bool, as_json: bool) -> None:
    """Remove the files of releases that nothing needs. The platform does this by itself after each promotion.

    These releases stay: the live one and the one before it, pinned ones, those with unfinished runs or deployments,
    and the newest ones (`releases.keep` in fleet.yaml). The record of a release is never removed.

    \b
    Example:
      airfleet release prune --dry-run
    """
    repository = _open(project, state)
    policy = read_fleet(find_project(project)).releases
    number = repository.request(
        DeploymentAction.PRUNE, None, actor=find_actor(), reason="prune", policy=policy, dry=dry_run
    )
    ended = repository.wait(number, lambda _: None, until=FINISHED)
    if ended.state == DeploymentState.FAILED:
        raise AirfleetError(explain(ended))
    if as_json:
        click.echo(json.dumps({key: ended.detail[key] for key in ("kept", "gone", "parses")}, indent=2))
        return
    for release, why in ended.detail["kept"].items():
        click.echo(f"keep {release_archive.shorten(release)}: {why}")
    for release in ended.detail["gone"]:
        click.echo(f"{'would remove' if dry_run else 'removed'} {release_archive.shorten(release)}")
    click.echo(f"removed parse results that no release needs: {ended.detail['parses']}", err=True)


def _files(release: Release | None) -> Mapping[str, str]:
    return release.manifest["files"] if release else {}


def _open(project: Path, state: Path | None) -> Repository:
    from airfleet.operations import metadata_database

    project = find_project(project)
    fleet = read_fleet(project)
    dsn = click.get_current_context().with_resource(metadata_database.reach(fleet, project, state))
    return Repository(dsn, fleet.name, start="airfleet apply" if fleet.hosts else "airfleet up")


def _require_apart(state: Path, project: Path) -> None:
    for folder in release_archive.FOLDERS:
        if state.is_relative_to(project / folder):
            raise UsageError(
                "the state folder holds secrets, and it is inside a folder that releases contain",
                where=str(state),
                hint=f"move the state folder out of {folder}/ and give its new path with --state",
            )


def _enter(project: Path, state: Path | None, with_tests: bool | None) -> None:
    """Continue in the project's Airflow environment if the command needs it: for Airflow's version or for tests."""
    project = find_project(project)
    fleet = read_fleet(project)
    was_up = find_state(project, state).read_dsn() is not None
    if with_tests if fleet.hosts else was_up:
        enter(project, fleet, state)


def _find_versions(fleet: Fleet, project: Path, state: Path | None) -> tuple[str, str]:
    """The versions of Airflow and Python that will run a release. Python is empty for a fleet: hosts may differ."""
    if not fleet.hosts:
        return airflow_version.find_installed(), platform.python_version()
    return airflow_version.read(find_state(project, state)).version, ""


def _require_releases(project: Path) -> None:
    project = find_project(project)
    if read_fleet(project).dags != "releases":
        raise UsageError(
            "this platform runs the Dags in its project folder, so it has no releases to make live or roll back",
            where=str(project / "fleet.yaml"),
            hint="set `dags: releases` there and start the platform again; `airfleet release check` works without it",
        )


def _examine(
    repository: Repository, release: str, contents: Mapping[str, bytes], project: Path, *, with_tests: bool | None
) -> tuple[Finding, ...]:
    project = find_project(project)
    fleet = read_fleet(project)
    if with_tests is None and fleet.hosts and (project / "tests").is_dir():
        click.echo("the project's tests were not run: --tests runs them on this machine as your user", err=True)
    return release_check.examine(
        repository,
        release,
        project,
        fleet,
        contents,
        actor=find_actor(),
        with_tests=not fleet.hosts if with_tests is None else with_tests,
    )


def _build(project: Path, state: Path | None, message: str) -> tuple[Repository, str, Mapping[str, bytes]]:
    repository = _open(project, state)
    project = find_project(project)
    _require_apart(find_state(project, state).root, project)
    tree, contents = manifest.read_tree(project)
    if not tree.dag_files():
        raise AirfleetError("there is no Python file in dags/", where=str(project), hint="a release needs a Dag")
    fleet = read_fleet(project)
    airflow, python = _find_versions(fleet, project, state)
    made = manifest.describe(
        tree,
        commit=manifest.read_commit(project),
        actor=find_actor(),
        message=message,
        airflow=airflow,
        python=python,
    )
    is_new = repository.save(made, release_archive.pack(tree, contents), fleet.releases.store)
    files = wording.count(len(tree.entries), "file")
    click.echo(f"{release_archive.shorten(tree.id)}: {files}{'' if is_new else ', built before'}", err=True)
    return repository, tree.id, contents


def _promote(repository: Repository, release: str, project: Path, reason: str, begun: float, *, watch: bool) -> None:
    policy = read_fleet(find_project(project)).releases
    number = repository.request(DeploymentAction.PROMOTE, release, actor=find_actor(), reason=reason, policy=policy)
    ended = _await_live(repository, number, "promote", begun)
    if ended.is_watched and watch:
        ended = repository.wait(number, lambda _: None, until=FINISHED, patience_s=policy.watch_seconds + WAIT_S)
        if ended.state == DeploymentState.FAILED:
            raise AirfleetError(explain(ended), where=release_archive.shorten(release))
        click.echo(f"promote {number}: {ended.verdict}", err=True)
    elif ended.is_watched:
        click.echo(
            f"watching the release for {policy.watch_seconds:g} s; `airfleet release show` shows the result", err=True
        )


def _await_live(repository: Repository, number: int, action: str, begun: float) -> Deployment:
    ended = repository.wait(number, lambda deployment: click.echo(f"{action} {number}: {deployment.state}", err=True))
    if ended.state == DeploymentState.FAILED:
        hint = "" if ended.live_at else "the live release has not changed"
        raise AirfleetError(explain(ended), where=release_archive.shorten(ended.release or ""), hint=hint)
    dags = ended.detail.get("dags", {})
    counts = ", ".join(f"{count} {what}" for what, count in dags.items() if isinstance(count, int) and count)
    name, seconds = release_archive.shorten(ended.release or ""), time.monotonic() - begun
    click.echo(f"{name} is live after {seconds:.1f} s: {counts or 'no Dags'}", err=True)
    click.echo(ended.release)
    return ended
