"""Write the folder that prepares a machine of a cloud, from which the cloud's tool then makes an image."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from airfleet.operations.image import packer
from airfleet.operations.image.contents import ImageContents
from airfleet.operations.image.kit import write_kit
from airfleet.runners.fleet.packaging import airflow_archive
from airfleet.spec.machines import Machines


def write_recipe(
    contents: ImageContents, machines: Machines | None, output: Path, tell: Callable[[str], None], *, cache: Path
) -> None:
    """Write the folder. It has its name only when it is complete.

    Raises:
        AirfleetError: The packages of an archive cannot be installed.
    """
    archives = {one.digest: airflow_archive.ensure(one, cache, tell) for one in contents.recipes}
    draft = output.with_name(f".{output.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_kit(contents, draft, archives)
        if text := packer.write_template(machines, contents.name):
            (draft / packer.FILE).write_text(text)
        draft.rename(output)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
