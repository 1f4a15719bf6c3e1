"""TLS between the nodes of a RabbitMQ cluster, and between a node and RabbitMQ's own tools.

A node speaks either TLS or none to all others. So all nodes change at the same moment (ADR 90).
"""

from __future__ import annotations

from pathlib import Path

from airfleet.components.host_model import AUTHORITIES, HostFile, Place
from airfleet.components.hosts import certificates
from airfleet.spec.addresses import is_ipv6
from airfleet.template import render_template

NAME = "inter_node_tls.config"
LOOKUPS = "inetrc"
# An expression for a node: its next handshake, with a client or with another node, reads certificates and authorities
# from their files again. For nodes, Erlang has no function for it and checks the files every two minutes: this lets it
# check them now.
RELOAD = "ssl:clear_pem_cache(), catch ssl_pem_cache_dist ! clear_pem_cache, ok."
# The same for a node whose peers are clients only.
RELOAD_CLIENTS = "ssl:clear_pem_cache()."


def is_used(place: Place) -> bool:
    """Whether the node of this host speaks TLS to others. A node alone speaks to the tools of its host only."""
    return len(place.addresses("broker")) > 1 and place.credentials.encryption.cluster.is_used


def list_files(place: Place, folder: Path) -> tuple[HostFile, ...]:
    """Return the file with Erlang's options, and that of the authorities, which it names. It holds no secret.

    Nodes with IPv6 addresses have one more: without it, Erlang looks up the address of a node in IPv4.
    """
    lookups = (HostFile(folder / LOOKUPS, "{inet6, true}.\n"),) if _has_ipv6(place) else ()
    if not is_used(place):
        return lookups
    text = render_template(
        __package__,
        NAME,
        authorities=AUTHORITIES,
        certificate=folder / certificates.CERTIFICATE,
        key=folder / certificates.KEY,
    )
    return HostFile(folder / NAME, text), HostFile(AUTHORITIES, place.credentials.encryption.trusted), *lookups


def find_reload(place: Place) -> str:
    """Return the expression by which the node of this host reads new certificates."""
    return RELOAD if is_used(place) else RELOAD_CLIENTS


def render_options(place: Place, folder: Path) -> str:
    """Return the options for Erlang of the node and of RabbitMQ's tools."""
    family = "inet6" if _has_ipv6(place) else "inet"
    # Erlang reads the value as a term, and the shell scripts of RabbitMQ leave the quotes as they are.
    lookups = f"-kernel inetrc '{folder / LOOKUPS}' " if _has_ipv6(place) else ""
    if is_used(place):
        return f"{lookups}-proto_dist {family}_tls -ssl_dist_optfile {folder / NAME}"
    return f"{lookups}-proto_dist {family}_tcp" if lookups else ""


def _has_ipv6(place: Place) -> bool:
    """Whether the node of this host speaks to others by IPv6."""
    return len(place.addresses("broker")) > 1 and is_ipv6(place.host.address)
