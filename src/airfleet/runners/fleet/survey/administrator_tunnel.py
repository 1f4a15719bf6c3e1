"""The tunnel of administrators as it is on its host: who may enter, and who has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from airfleet.components.hosts import entrances
from airfleet.runners.fleet.transport import sections
from airfleet.runners.fleet.transport.connection import Output
from airfleet.spec.fleet import Fleet
from airfleet.spec.topology import Host
from airfleet.spec.vpn import Vpn
from airfleet.workspace.diagnosis import Diagnosis
from airfleet_provider.contract import wording

UNIT = "airfleet-vpn.service"
# Both ends shake hands every two minutes while anything is sent.
CONNECTED_S = 180


@dataclass(frozen=True, slots=True)
class TunnelPeer:
    """A peer that the host lets in: its addresses in the tunnel, and when and from where it was there last."""

    public_key: str
    allowed: str
    seen_s: float | None = None
    endpoint: str = ""

    @property
    def is_connected(self) -> bool:
        return self.seen_s is not None and self.seen_s <= CONNECTED_S


@dataclass(frozen=True, slots=True)
class TunnelState:
    """The public key of the host, "" if there is no tunnel, and the peers by their public keys."""

    public_key: str
    peers: Mapping[str, TunnelPeer]


def read_state(run: Callable[..., Output]) -> TunnelState:
    """Return the state of the tunnel on the host whose shell is `run`.

    Raises:
        HostError: The host does not answer.
    """
    said = sections.split(run(sections.render(__package__, "look_at_tunnel", TUNNEL=entrances.TUNNEL)).out)
    now = next((int(line) for line in said.get("now", []) if line.isdigit()), 0)
    handshakes, endpoints = _columns(said.get("handshakes", [])), _columns(said.get("endpoints", []))
    peers = {}
    for key, allowed in _columns(said.get("allowed", [])).items():
        last = handshakes.get(key, "0")
        seen_s = max(0, now - int(last)) if last.isdigit() and int(last) else None
        endpoint = endpoints.get(key, "")
        peers[key] = TunnelPeer(key, allowed, seen_s, "" if endpoint == "(none)" else endpoint)
    return TunnelState(next(iter(said.get("key", [])), "").strip(), peers)


def examine(fleet: Fleet, host: Host, run: Callable[..., Output]) -> Iterator[Diagnosis]:
    """Yield what is wrong with the tunnel if it ends at this host, whose shell is `run`.

    Raises:
        HostError: The host does not answer.
    """
    if fleet.vpn and fleet.vpn.host == host.name:
        yield from judge(fleet.vpn, read_state(run))


def judge(vpn: Vpn, state: TunnelState) -> Iterator[Diagnosis]:
    """Yield what is wrong with the tunnel: it is not there, or its peers are not the administrators of fleet.yaml."""
    subject = f"{vpn.host}: vpn"
    if not state.public_key:
        hint = (
            f"airfleet apply, or on {vpn.host}: systemctl reload {UNIT}; its log: airfleet logs vpn --host {vpn.host}"
        )
        yield Diagnosis("error", subject, "there is no tunnel, so no administrator can enter", hint)
        return
    hint = f"airfleet apply, and on {vpn.host}: systemctl reload {UNIT}"
    wanted = {one.public_key: one for one in vpn.administrators}
    wrong = False
    for key, peer in state.peers.items():
        owner = wanted.get(key)
        if owner is None:
            wrong = True
            yield Diagnosis("error", subject, f"the key {key} may enter, and fleet.yaml does not name it", hint)
        elif peer.allowed != f"{owner.address}/32":
            wrong = True
            what = f"{owner.name} may come from {peer.allowed}, and not from {owner.address} alone"
            yield Diagnosis("error", subject, what, hint)
    for key, owner in wanted.items():
        if key not in state.peers:
            wrong = True
            yield Diagnosis("warning", subject, f"{owner.name} may not enter yet", hint)
    if not wrong:
        inside = sum(peer.is_connected for peer in state.peers.values())
        what = f"up; {wording.count(len(wanted), 'administrator')}, {inside} in it now"
        yield Diagnosis("ok", subject, what)


def _columns(lines: Iterable[str]) -> dict[str, str]:
    """Return the lines of `wg show` by their first word: the key of a peer. Some separate words by a blank."""
    pairs = (line.split(None, 1) for line in lines)
    return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}
