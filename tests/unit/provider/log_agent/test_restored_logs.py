"""A log that comes back while the index still has its lines is not in the index twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from airfleet_provider.log_index import indexed_files
from log_hosts import LogHost


def bring_back(host: LogHost, path: Path, *, noted: int) -> None:
    """Take a log away, and bring it back as another file with a note of how much of it the index has."""
    # Under another name, so that the file system gives its inode to no other file.
    kept = path.rename(path.with_suffix(".kept"))
    host.take()
    with path.with_suffix(".draft").open("wb") as file:
        file.write(kept.read_bytes())
        indexed_files.note(file.fileno(), noted)
        if indexed_files.read(file.fileno()) != noted:
            pytest.skip("the file system of the temporary folder has no extended attributes")
    path.with_suffix(".draft").rename(path)
    host.take()


def test_lines_that_the_index_has_are_left_out_and_those_after_them_are_not(host: LogHost) -> None:
    path = host.print("first", "second")
    host.take()
    bring_back(host, path, noted=path.stat().st_size)
    assert sorted(host.texts()) == ["first", "second"]
    host.print("third")
    host.restart()
    host.take()
    assert sorted(host.texts()) == ["first", "second", "third"]


def test_a_note_of_more_than_the_file_has_hides_nothing_that_comes(host: LogHost) -> None:
    path = host.print("first")
    host.take()
    bring_back(host, path, noted=1 << 40)
    host.print("second")
    host.take()
    assert sorted(host.texts()) == ["first", "second"]


def test_a_log_without_a_note_is_taken(host: LogHost) -> None:
    path = host.print("first")
    host.take()
    bring_back(host, path, noted=0)
    assert host.texts() == ["first", "first"]


def test_a_note_that_is_no_size_counts_for_nothing(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        assert indexed_files.read(file.fileno()) == 0
        indexed_files.note(file.fileno(), -3)
        assert indexed_files.read(file.fileno()) == 0
