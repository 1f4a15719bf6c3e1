"""A real directory, with Ann and Bob in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airfleet_provider.contract.directory import LdapSource
from slapd_node import MISSING, PROGRAM, SlapdNode


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlapdNode]:
    if PROGRAM is None:
        pytest.skip(MISSING)
    node = SlapdNode(tmp_path_factory.mktemp("slapd"))
    node.add_user("ann", "of ann")
    node.add_user("bob", "of bob")
    node.add_group("analysts", "ann", "bob")
    node.add_group("operators", "ann")
    yield node
    node.stop()


@pytest.fixture
def source(directory: SlapdNode) -> LdapSource:
    """How fleet.yaml names that directory."""
    return directory.describe()
