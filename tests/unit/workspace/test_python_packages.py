"""A project's requirements file is read."""

from __future__ import annotations

import pytest

from airfleet.workspace.python_packages import list_unhashed

HASHED = "a==1 ; python_version > '3' \\\n    --hash=sha256:00 \\\n    --hash=sha256:01\n"


@pytest.mark.parametrize(
    ("text", "unhashed"),
    [
        ("", ()),
        (f"# by uv\n--no-binary x\n{HASHED}    # via b\n", ()),
        (f"{HASHED}b>=2  # why\n\n./own\n", ("b>=2", "./own")),
        ("c @ file:///c.whl#sha256=00\n", ("c @ file:///c.whl#sha256=00",)),
    ],
)
def test_which_requirements_have_no_hash(text: str, unhashed: tuple[str, ...]) -> None:
    assert list_unhashed(text) == unhashed
