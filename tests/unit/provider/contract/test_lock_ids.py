"""Advisory locks of one database: a number that two of them share makes each wait for the other."""

from __future__ import annotations

from airfleet.releases import repository
from airfleet_provider.contract import lease_schema as leader
from airfleet_provider.contract import release_schema

SCHEMA_LOCK = 4_707_001


def test_every_lock_has_a_number_of_its_own() -> None:
    locks = (SCHEMA_LOCK, release_schema.AGENT_LOCK, release_schema.COLLECT_LOCK, leader.HOLDER_LOCK)
    assert len(set(locks)) == len(locks)
    assert repository.COLLECT_LOCK == release_schema.COLLECT_LOCK
