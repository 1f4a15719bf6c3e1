"""The `releases` section gives Releases, or all its problems."""

from __future__ import annotations

import pytest

from airfleet.errors import SpecError
from airfleet.spec import fleet, load
from airfleet_provider.contract import archive_store, release_policy


def parse(text: str) -> fleet.Releases:
    return load.parse(text, file="fleet.yaml", default_name="flights", cpus=8).releases


def test_without_the_section_the_defaults_count_and_are_the_providers() -> None:
    assert parse("") == fleet.Releases() == parse("releases:\n")
    assert release_policy.WatchPolicy() == release_policy.WatchPolicy.read(
        {key: getattr(parse(""), key) for key in fleet.Releases.__slots__}
    )
    assert (parse("").keep, parse("").store) == (release_policy.KEEP, archive_store.DATABASE)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("database", "database"),
        ("/mnt/nfs/releases", "/mnt/nfs/releases"),
        ("file:///mnt/nfs/", "file:///mnt/nfs"),
        ("s3://bucket/releases/", "s3://bucket/releases"),
        ("sftp://airfleet@host/srv", "sftp://airfleet@host/srv"),
    ],
)
def test_places(written: str, read: str) -> None:
    assert parse(f"releases: {{store: '{written}'}}").store == read


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("store: releases", "'releases' is no place"),
        ("store: 's3:bucket'", "'s3:bucket' is no place"),
        ("store: 'sftp://me:secret@host/x'", "fleet.yaml never holds a password, and this URI carries one"),
        ("keep: 1", "expected a whole number, 2 or more, found 1"),
        ("watch_seconds: -1", "expected a number from 0 to 86400, found -1"),
        ("max_failure_rate: 2", "expected a number from 0 to 1, found 2"),
        ("min_task_ends: 0", "expected a whole number, 1 or more, found 0"),
        ("watch: 3", "unknown key 'watch'"),
    ],
)
def test_what_is_wrong_is_told(line: str, what: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(f"releases: {{{line}}}")
    assert [problem.what for problem in caught.value.problems] == [what]
