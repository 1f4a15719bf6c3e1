"""The tunnel of administrators as its host reports it: who may enter, who is there, and what doctor says of it."""

from __future__ import annotations

import pytest

from airfleet.operations import vpn as operation
from airfleet.runners.fleet import hardening
from airfleet.runners.fleet.survey.administrator_tunnel import TunnelPeer, TunnelState, judge, read_state
from places import NINE, parse
from shells import MadeUpShell
from ways_in import ANN, BOB, WITH_VPN

FLEET = parse(WITH_VPN)
HOST_KEY = "JhCMRFdSzZk2Y6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="
SAID = f"""\
@@airfleet@@ key
{HOST_KEY}
@@airfleet@@ allowed
{ANN}\t10.99.0.2/32
{BOB}\t10.99.0.3/32
@@airfleet@@ handshakes
{ANN}\t940
{BOB}\t0
@@airfleet@@ endpoints
{ANN}\t203.0.113.7:40000
{BOB}\t(none)
@@airfleet@@ now
1000
"""


def read(said: str) -> TunnelState:
    return read_state(MadeUpShell(lambda _: said).run)


def test_who_may_enter_is_read_with_when_they_were_there() -> None:
    assert read(SAID) == TunnelState(
        HOST_KEY,
        {ANN: TunnelPeer(ANN, "10.99.0.2/32", 60, "203.0.113.7:40000"), BOB: TunnelPeer(BOB, "10.99.0.3/32")},
    )
    assert read(SAID).peers[ANN].is_connected
    assert not read(SAID.replace("\t940", "\t800")).peers[ANN].is_connected


@pytest.mark.parametrize(
    ("said", "level", "what"),
    [
        (SAID, "ok", "up; 2 administrators, 1 in it now"),
        ("", "error", "there is no tunnel"),
        (SAID.replace(BOB, HOST_KEY), "error", f"the key {HOST_KEY} may enter, and fleet.yaml does not name it"),
        (SAID.replace("10.99.0.3/32", "0.0.0.0/0"), "error", "bob may come from 0.0.0.0/0"),
        (SAID.replace(f"{BOB}\t10.99.0.3/32\n", ""), "warning", "bob may not enter yet"),
    ],
)
def test_what_differs_from_fleet_yaml_is_told_with_a_hint(said: str, level: str, what: str) -> None:
    assert FLEET.vpn
    found = next(one for one in judge(FLEET.vpn, read(said)) if one.what.startswith(what))
    assert (found.level, found.subject) == (level, "web1: vpn")
    assert bool(found.hint) == (level != "ok")


def test_an_administrator_gets_all_but_the_private_key() -> None:
    assert FLEET.vpn
    ann = operation.find_administrator(FLEET.vpn, "ann")
    text = operation.render_profile(FLEET, FLEET.vpn, ann, HOST_KEY)
    lines = dict(line.split(" = ", 1) for line in text.splitlines() if " = " in line)
    assert lines == {
        "PrivateKey": operation.YOURS,
        "Address": "10.99.0.2/32",
        "PublicKey": HOST_KEY,
        "Endpoint": "vpn.example.com:51820",
        "AllowedIPs": "10.99.0.1/32, 10.0.0.11/32",
        "PersistentKeepalive": "25",
    }
    assert operation.find_ui_url(FLEET, FLEET.vpn) == "http://10.0.0.11:8080"


def test_hardening_tells_who_reaches_ssh_and_the_ui() -> None:
    assert hardening._judge_entrances(FLEET).level == "ok"
    assert hardening._judge_entrances(parse(NINE)).level == "warning"
    assert hardening._judge_entrances(parse(f"{NINE}firewall: false\n")).level == "warning"
