"""Faults that need several machines."""

from __future__ import annotations

from collections.abc import Iterator

from alert_drills.drill import Drill
from alert_drills.hosts_bed import MONITOR, HostsBed


def stop_agents(bed: HostsBed) -> Iterator[None]:
    with bed.stopped("agents", "one"):
        yield


def stop_broker(bed: HostsBed) -> Iterator[None]:
    with bed.stopped("rabbitmq", "two"):
        yield


def stop_replica(bed: HostsBed) -> Iterator[None]:
    [replica] = {"one", "two"} - {bed.find_primary()}
    with bed.stopped("postgresql", replica):
        yield


def stop_voters(bed: HostsBed) -> Iterator[None]:
    with bed.stopped("etcd", "two", MONITOR):
        yield


def pull_plug(bed: HostsBed) -> Iterator[None]:
    machine = bed.fleet.bed["two"]
    machine.pull_plug()
    yield
    machine.power_on()
    machine.wait_ready()


HOSTS = (
    (Drill(("AgentsDown",), "the agents of one of two scheduler hosts were stopped", stop_agents),),
    (Drill(("BrokerDown", "BrokerNodesMissing"), "one of three RabbitMQ nodes was stopped", stop_broker),),
    (Drill(("ReplicaMissing",), "Patroni was stopped on the host of the replica", stop_replica),),
    (Drill(("EtcdWithoutLeader",), "etcd was stopped on two of its three hosts", stop_voters),),
    (Drill(("HostDown",), "a host lost its power", pull_plug),),
)
