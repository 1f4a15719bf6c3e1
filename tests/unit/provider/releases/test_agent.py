"""The releaser's clock: what happens when the live release cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from airfleet_provider.releases import parse_cache
from airfleet_provider.releases.agent import ReleaseAgent
from airfleet_provider.releases.deployments import DeploymentRefusedError
from airfleet_provider.releases.parser_process import Parser
from clocks import MadeUpClock


def make(clock: MadeUpClock) -> ReleaseAgent:
    return ReleaseAgent(has_fab_roles=False, parser=Parser(), now=clock, environment="")


def unpack(releaser: ReleaseAgent, monkeypatch: pytest.MonkeyPatch, *, intervals: dict[str, int]) -> None:
    nothing = parse_cache.ParseResults({}, {}, frozenset())

    def have(_: ReleaseAgent, bundle: str, release: str) -> parse_cache.UnpackedRelease:
        return parse_cache.UnpackedRelease(bundle, release, Path(), {}, intervals, {}, {}, {})

    monkeypatch.setattr(ReleaseAgent, "unpack", have)
    monkeypatch.setattr(parse_cache, "collect", lambda *_, **__: nothing)


def test_a_live_release_that_cannot_be_had_is_not_asked_for_at_once_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, asked = MadeUpClock(1000.0), []

    def refuse(_: ReleaseAgent, bundle: str, release: str) -> parse_cache.UnpackedRelease:
        asked.append(clock.now)
        raise DeploymentRefusedError("the store does not answer")

    monkeypatch.setattr(ReleaseAgent, "unpack", refuse)
    releaser = make(clock)
    releaser.due["shop", "r1", "dags/a.py"] = clock.now
    for _ in range(100):  # as often as the loop would turn if nothing made it wait
        clock.now += 0.01
        if min(releaser.due.values()) <= clock.now:
            with pytest.raises(DeploymentRefusedError):
                releaser.tick()
    assert len(asked) == 1
    assert min(releaser.due.values()) > clock.now + 10
    unpack(releaser, monkeypatch, intervals={"dags/a.py": 300})
    clock.now += 60
    releaser.tick()
    assert releaser.due == {("shop", "r1", "dags/a.py"): clock.now + 300}


def test_entries_of_two_releases_of_one_bundle_are_each_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = MadeUpClock(1000.0)
    releaser = make(clock)
    unpack(releaser, monkeypatch, intervals={})
    releaser.due = {("shop", "r1", "dags/a.py"): clock.now, ("shop", "r2", "dags/b.py"): clock.now}
    releaser.tick()
    assert releaser.due == {}
