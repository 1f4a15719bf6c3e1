"""The cgroup of a process: what the kernel says of its memory, in both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from airfleet_provider.processes.memory_group import find_group


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("own", "folder", "events", "limit", "text"),
    [
        ("4:memory:/a/b\n0::/c\n", "memory/a/b", "memory.oom_control", "memory.limit_in_bytes", "2147483648"),
        ("0::/system.slice/w.service\n", "system.slice/w.service", "memory.events", "memory.max", "2147483648"),
        ("5:cpu:/\n0::/c\n", "unified/c", "memory.events", "memory.max", "2147483648"),
        ("0::/c\n", "c", "memory.events", "memory.max", "max"),
        ("0::/w.service/airfleet-worker\n", "w.service", "airfleet-worker/memory.events", "memory.max", "2147483648"),
        ("3:cpu,memory:/\n", "memory", "memory.oom_control", "memory.limit_in_bytes", "9223372036854771712"),
    ],
)
def test_kills_and_limit_are_read(tmp_path: Path, own: str, folder: str, events: str, limit: str, text: str) -> None:
    write(tmp_path / "own", own)
    write(tmp_path / "tree" / folder / events, "low 0\nunder_oom 0\noom_kill 3\n")
    write(tmp_path / "tree" / folder / limit, f"{text}\n")
    group = find_group(tmp_path / "own", tmp_path / "tree")
    assert group is not None
    assert group.count_kills() == 3
    assert group.read_limit() == (int(text) if text == "2147483648" else None)


def test_where_the_kernel_shows_none_there_is_none(tmp_path: Path) -> None:
    assert find_group(tmp_path / "own", tmp_path) is None
    write(tmp_path / "own", "0::/c\n")
    assert find_group(tmp_path / "own", tmp_path) is None
