"""The folder that prepares a machine: `prepare.sh`, its steps with the archives that they read, and `clean.sh`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from airfleet.operations.image.contents import ImageContents, ImageStep
from airfleet.shell_script import render_script

PREPARE, CLEAN = "prepare", "clean"


def write_kit(
    contents: ImageContents, folder: Path, archives: Mapping[str, Path], install: ImageStep | None = None
) -> None:
    """Write the kit into a new folder. `archives` has the files of `ImageStep.input`.

    `install` installs packages that are in the kit. Without it, the machine downloads them from its mirrors.
    """
    own = folder / "steps"
    own.mkdir(parents=True)
    for name in (PREPARE, CLEAN):
        (folder / f"{name}.sh").write_text(render_script(__package__, name))
    (folder / "image.json").write_text(contents.note)
    _write_steps(own, (*contents.before, install or contents.install, *contents.after), archives)


def _write_steps(folder: Path, steps: Sequence[ImageStep], archives: Mapping[str, Path]) -> None:
    for number, step in enumerate(steps, 1):
        path = folder / f"{number:03}.sh"
        path.write_text(f"# {step.what}\n{step.script.rstrip()}\n")
        if step.input:
            _share(archives[step.input], path.with_suffix(".input"))


def _share(source: Path, target: Path) -> None:
    """Give a file of the cache a second name, or copy it where that cannot be."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
