"""`airfleet init`: a new project, with one Dag that is typed, documented and tested."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from pathlib import Path

import click

from airfleet.errors import AirfleetError, UsageError
from airfleet.spec import load

SKELETON = "skeleton"
NAME = "my-project"
# Files whose names begin with a dot would be overlooked by many tools on the way here.
HIDDEN = {"gitignore": ".gitignore", "github": ".github"}
NAMED = ("fleet.yaml", "README.md")


@click.command("init", short_help="Make a new project.")
@click.argument("folder", type=click.Path(path_type=Path), default=Path())
def command(folder: Path) -> None:
    """Make a new project: fleet.yaml, a Dag with its tests, a workflow that checks every push, a README.

    The command overwrites nothing. If a file already exists with other content, it fails before it writes anything. It
    prints the files that it makes.

    \b
    Example:
      airfleet init shop && airfleet up shop
    """
    name = load.slug(folder.resolve().name)
    files = dict(list_files(name))
    if taken := [path for path, body in files.items() if not _is_free(folder / path, body)]:
        raise UsageError(
            f"this would overwrite {', '.join(taken)}",
            where=str(folder),
            hint="name a new folder: airfleet init FOLDER",
        )
    try:
        for path, body in files.items():
            if not (folder / path).exists():
                _write(folder / path, body)
                click.echo(folder / path)
    except OSError as error:
        raise AirfleetError(f"cannot make the project: {error.strerror}", where=str(error.filename)) from error
    click.echo(f"{name} is ready: airfleet up {folder}", err=True)


def list_files(name: str) -> Iterator[tuple[str, bytes]]:
    """Yield the path and content of every file of a new project with this name."""
    for path, file in _walk(importlib.resources.files("airfleet") / SKELETON, ""):
        body = file.read_bytes()
        yield path, body.replace(NAME.encode(), name.encode()) if path in NAMED else body


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for one in sorted(folder.iterdir(), key=lambda found: found.name):
        path = prefix + HIDDEN.get(one.name, one.name)
        if one.name == "__pycache__" or one.name.startswith("."):
            continue  # left by tools that were run there; what a project hides has another name here
        if one.is_dir():
            yield from _walk(one, f"{path}/")
        else:
            yield path, one


def _is_free(path: Path, body: bytes) -> bool:
    try:
        return path.read_bytes() == body
    except FileNotFoundError:
        return not path.is_symlink()
    except OSError:
        return False


def _write(path: Path, body: bytes) -> None:
    """Make a new file atomically: a crash leaves the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    draft.write_bytes(body)
    try:
        path.hardlink_to(draft)  # unlike a rename, never over a file that has come meanwhile
    finally:
        draft.unlink()
