"""Hops that only larger fleets have, with a sniffer between: metrics, and the nodes of a cluster of brokers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airfleet.components.host_model import (
    AGENTS_METRICS,
    AUTHORITIES,
    BALANCER_METRICS,
    ERLANG,
    METRICS_TLS,
    NODE_METRICS,
    POSTGRES_METRICS,
    PROXY_METRICS,
    RABBITMQ_METRICS,
)
from captures import Capture
from deadline import wait_until
from four import PACKAGES, Four, make_fleet

pytestmark = [pytest.mark.hosts, pytest.mark.drill]

ROLES = {
    "app1": "roles: [web, balancer, broker, scheduler, database, monitor]",
    "mq2": "roles: [broker]",
    "work1": "roles: [worker, broker], pools: [default]",
}
MONITORING = ("prometheus", "prometheus-alertmanager")
# The ports that the exporters of earlier versions opened to other hosts.
EXPORTERS = {NODE_METRICS, POSTGRES_METRICS, RABBITMQ_METRICS, BALANCER_METRICS, PROXY_METRICS, AGENTS_METRICS}
# How a record of TLS with data begins.
RECORD = b"\x17\x03\x03"
METRIC_WORDS = (b"HTTP/1.", b"node_cpu", b"node_memory", b"rabbitmq_", b"haproxy_", b"pg_stat")
CLUSTER_WORDS = (b"rabbit_", b"pool-default", b"sleeper", b"execute_workload")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Four]:
    with make_fleet(tmp_path_factory.mktemp("three"), ROLES, fetched=(*PACKAGES, *MONITORING)) as made:
        yield made


def test_metrics_cross_the_network_in_tls_only(three: Four) -> None:
    with (
        Capture(three.bed.layout.bridge, ports={METRICS_TLS}) as metrics,
        Capture(three.bed.layout.bridge, ports=EXPORTERS) as former,
    ):
        wait_until(lambda: RECORD in metrics.seen, "Prometheus reads the metrics of another host")
    assert former.packets == 0
    assert not [word for word in METRIC_WORDS if word in metrics.seen]


def test_a_host_reads_metrics_of_another_with_the_key_of_a_monitor_host_only(three: Four) -> None:
    assert "node_cpu" in read_metrics(three, "app1")
    assert "node_cpu" not in read_metrics(three, "work1")


def test_brokers_speak_tls_to_each_other(three: Four) -> None:
    with Capture(three.bed.layout.bridge, ports={ERLANG}) as cluster:
        three.wait([three.trigger(0), three.trigger(0)])
    assert RECORD in cluster.seen, "a message is on a majority of the nodes"
    assert not [word for word in CLUSTER_WORDS if word in cluster.seen]


def read_metrics(three: Four, reader: str) -> str:
    """Return what a host gets from the metrics of mq2 with its own certificate."""
    script = (
        f"cd $(dirname $(find /etc/airfleet -name host.key | head -n 1)); "
        f"printf 'GET /node/metrics HTTP/1.0\\r\\n\\r\\n' | timeout 10 openssl s_client -quiet -cert host.pem"
        f" -key host.key -CAfile {AUTHORITIES} -verify_return_error -connect {three.bed['mq2'].address}:{METRICS_TLS}"
        " 2>/dev/null || true"
    )
    return three.bed[reader].run("sudo sh -s", text=script).stdout
