"""A release is found by the beginning of its id, also one that an earlier version of airfleet built."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airfleet.errors import AirfleetError
from airfleet.releases.repository import Repository
from airfleet.spec.secrets import Secret
from airfleet_provider.contract.release_list import Release

OLD = "r0123456789abcdef"
NEW = f"{OLD}{'7' * 48}"
OTHER = f"r0123456789abcde0{'1' * 48}"


def find(monkeypatch: pytest.MonkeyPatch, prefix: str, *known: Release) -> str:
    def select(_: Repository, __: str, **words: str) -> list[Release]:
        begins = words["prefix"].removesuffix("%")
        return sorted((one for one in known if one.id.startswith(begins)), key=lambda one: one.id)[:3]

    monkeypatch.setattr(Repository, "_select_releases", select)
    return Repository(Secret("host=db"), "shop").find(prefix).id


def release(name: str, *, live: bool = False, collected: bool = False) -> Release:
    return Release(name, {}, datetime(2026, 1, 1, tzinfo=UTC), "", "", False, None, collected, live, None, None)


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        (release(OLD), release(NEW), NEW),
        (release(OLD, live=True), release(NEW), OLD),
        (release(OLD), release(NEW, collected=True), OLD),
        (release(OLD, collected=True), release(NEW), NEW),
    ],
)
def test_the_same_files_under_an_id_of_an_earlier_version_are_one_release(
    monkeypatch: pytest.MonkeyPatch, old: Release, new: Release, found: str
) -> None:
    assert find(monkeypatch, OLD, old, new) == found
    assert find(monkeypatch, NEW, old, new) == NEW


def test_other_files_are_another_release(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AirfleetError, match="more than one"):
        find(monkeypatch, "r0123", release(OLD), release(OTHER))
    with pytest.raises(AirfleetError, match="more than one"):
        find(monkeypatch, "r0123", release(OLD), release(NEW), release(OTHER))
