"""The step of the build that puts into airfleet's wheel what lies outside its package."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.builders.wheel import WheelBuilder

# What both halves share. The wheel of airfleet has it too, and so depends on no other wheel.
SHARED = ("__init__.py", "contract")


class Inclusions(BuildHookInterface):  # type: ignore[type-arg]
    """Includes the locks, the wheel of the provider, and the package that both halves share.

    An editable install needs none of them: it finds them in the repository.
    """

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Say what to include before the files of the wheel are collected."""
        if version == "editable":
            return
        root = Path(self.root)
        included = build_data["force_include"]
        included[str(root / "constraints")] = "airfleet/constraints"
        for name in SHARED:
            included[str(root / "provider" / "src" / "airfleet_provider" / name)] = f"airfleet_provider/{name}"
        self._scratch = tempfile.TemporaryDirectory(prefix="airfleet-provider-")
        (wheel,) = WheelBuilder(str(root / "provider")).build(directory=self._scratch.name, versions=["standard"])
        included[wheel] = f"airfleet/wheels/{Path(wheel).name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the copy of the provider's wheel, which is in the other wheel now."""
        if version != "editable":
            self._scratch.cleanup()
