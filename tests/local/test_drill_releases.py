"""A drill's changes of a fleet's releases, on a real metadata database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from airfleet.drills.fleet import FleetPlatform
from airfleet.drills.load import Load
from airfleet.releases.repository import Repository
from airfleet.spec.secrets import Secret
from places import NINE, parse
from shops import Shop

pytestmark = pytest.mark.local


def make_platform(shop: Shop) -> FleetPlatform:
    """Return a new view of the shop for a drill, as after a kill."""
    fleet = replace(parse(NINE), name=shop.name)
    return FleetPlatform(fleet, shop.project, Secret(shop.database.dsn), "me", lambda: 0.0)


def make_load(shop: Shop, number: int) -> Load:
    began = datetime(2030, 1, 1, tzinfo=UTC) + timedelta(hours=number)
    return Load(began=began, length_s=60, ledger=str(shop.project / "ledger"), dags=1)


def read_files(shop: Shop) -> set[str]:
    ledger = Repository(Secret(shop.database.dsn), shop.name)
    return set(ledger.read_files(shop.live() or "")[1])


def test_a_drill_adds_its_load_to_what_is_live_and_a_killed_one_is_undone_by_the_next(kiosk: Shop) -> None:
    live = kiosk.build()
    kiosk.deploy(live)
    before = read_files(kiosk)
    kiosk.write("d00", more="raise SystemExit('half an edit, which nobody deployed')")
    kiosk.write("unfinished")

    make_platform(kiosk).deploy(make_load(kiosk, 1))  # and is killed
    assert read_files(kiosk) > before
    assert "dags/unfinished.py" not in read_files(kiosk)

    other = make_load(kiosk, 2)
    make_platform(kiosk).deploy(other)
    make_platform(kiosk).withdraw(other)
    assert kiosk.live() == live


def test_a_drill_leaves_alone_what_somebody_deployed_meanwhile(kiosk: Shop) -> None:
    kiosk.deploy(kiosk.build())
    load = make_load(kiosk, 3)
    make_platform(kiosk).deploy(load)
    kiosk.write("d00", task="mended")
    urgent = kiosk.build()
    kiosk.deploy(urgent)
    make_platform(kiosk).withdraw(load)
    assert kiosk.live() == urgent


def test_a_drill_on_a_fleet_without_a_release_leaves_one_without_dags(kiosk: Shop) -> None:
    load = make_load(kiosk, 4)
    make_platform(kiosk).deploy(load)
    make_platform(kiosk).withdraw(load)
    assert read_files(kiosk) == {".airflowignore"}
