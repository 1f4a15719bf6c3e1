"""The voters of a fleet with two database hosts: who votes, who reaches them, and how one joins."""

from __future__ import annotations

import io
import json
import ssl
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from airfleet.components.etcd import list_members
from airfleet.components.etcd import server as etcd
from airfleet.components.health import HttpCheck
from airfleet.errors import UsageError
from database_hosts import fleet, jobs, parts
from deadline import PATIENCE_S
from places import parse


def test_three_hosts_vote_databases_first_and_never_one_that_only_runs_tasks() -> None:
    assert [host.name for host in fleet().voters] == ["data1", "web1", "web2"]


def test_a_worker_that_keeps_data_votes_where_there_are_too_few_others() -> None:
    few = """\
hosts:
  db1: {address: 10.0.0.1, roles: [database]}
  app1: {address: 10.0.0.2, roles: [web, scheduler, broker]}
  db2: {address: 10.0.0.3, roles: [database, worker]}
"""
    assert [host.name for host in parse(few).voters] == ["db1", "app1", "db2"]


def test_several_database_hosts_without_three_that_may_vote_are_refused() -> None:
    with pytest.raises(
        UsageError, match="2 database hosts need 3 hosts that agree on the primary, and 2 can: db1, db2"
    ):
        parse(
            """\
hosts:
  db1: {address: 10.0.0.1, roles: [database, web, scheduler, broker]}
  db2: {address: 10.0.0.3, roles: [database, worker]}
"""
        )


def test_only_voters_and_database_hosts_reach_etcd_and_only_database_hosts_reach_patroni() -> None:
    ports = {
        (port.number, port.sources)
        for host in ("data1", "web1")
        for part in parts(fleet(), host)
        for port in part.ports
    }
    voters = ("10.0.0.41", "10.0.0.11", "10.0.0.12")
    assert (2380, voters) in ports
    assert (2379, (*voters, "10.0.0.33")) in ports
    assert (8008, ("10.0.0.33",)) in ports
    assert {number for number, sources in ports if not sources}.isdisjoint({2379, 2380, 8008})


OWN_PEER, OTHER_PEER = "https://10.0.0.41:2380", "https://10.0.0.11:2380"


def join_etcd(folder: Path, *, etcdctl: str = "exit 1", others: str = "") -> subprocess.CompletedProcess[str]:
    """Run the job that lets etcd of data1 join; `others` is what other voters say of the members."""
    for name, line in {
        "etcdctl": etcdctl,
        "timeout": 'shift; exec "$@"',
        "python3": f"printf '%s' '{others}'",
        "systemctl": "true",
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    script = jobs(fleet(), "data1")["etcd-join"].replace(str(etcd.JOINING), str(folder / "joining.env"))
    script = script.replace(str(etcd.DATA), str(folder / "data"))
    words = ["bash", "-c", f"PATH={folder}:$PATH\nset -eu\n{script}"]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE_S)


@pytest.mark.parametrize(
    ("others", "code"),
    [
        ("", 0),
        (f"10.0.0.11:2380 {OTHER_PEER} {OWN_PEER}\n", 0),
        (f"10.0.0.11:2380 {OTHER_PEER} {OWN_PEER}0\n", 1),
        (f"10.0.0.11:2380 {OTHER_PEER} {OWN_PEER}\n10.0.0.12:2380 {OTHER_PEER}\n", 1),
    ],
    ids=["nobody answers", "all have this host", "another host's name begins alike", "one is without this host"],
)
def test_a_voter_begins_no_cluster_beside_one_that_has_no_majority_now(tmp_path: Path, others: str, code: int) -> None:
    done = join_etcd(tmp_path, others=others)
    assert (done.returncode, (tmp_path / "joining.env").exists()) == (code, not code), done.stderr


@pytest.mark.parametrize("is_member", [True, False])
def test_a_voter_that_has_left_comes_back_without_the_data_that_it_had(tmp_path: Path, is_member: bool) -> None:
    """etcd does not start on the data of a member that was removed."""
    (tmp_path / "data" / "member").mkdir(parents=True)
    own = f"echo 'b1, started, data1, {OWN_PEER}, https://10.0.0.41:2379, false'"
    line = f"echo 'a1, started, web1, {OTHER_PEER}, https://10.0.0.11:2379, false'"
    added = f'ETCD_INITIAL_CLUSTER="web1={OTHER_PEER},data1={OWN_PEER}"'
    etcdctl = (
        f'case "$*" in *"member list"*) {line}; {own if is_member else "true"};; *"member add"*) echo {added!r};; esac'
    )
    assert join_etcd(tmp_path, etcdctl=etcdctl).returncode == 0
    assert (tmp_path / "data" / "member").exists() is is_member
    assert ("ETCD_INITIAL_CLUSTER_STATE=existing" in (tmp_path / "joining.env").read_text()) is True
    assert (f"web1={OTHER_PEER},data1={OWN_PEER}" in (tmp_path / "joining.env").read_text()) is not is_member


def test_etcd_is_well_once_a_majority_answers_and_not_once_it_listens() -> None:
    [server] = [one for part in parts(fleet(), "web1") for one in part.services if one.name == "etcd"]
    assert server.health == HttpCheck("https://127.0.0.1:2379/health")


def test_voters_that_answer_are_printed_with_their_members(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(url: str, **_: object) -> io.StringIO:
        if "down" in url:
            raise ConnectionRefusedError(url)
        return io.StringIO(json.dumps([{"peerURLs": [one]} for one in (OWN_PEER, OTHER_PEER)]))

    context = ssl.create_default_context()
    monkeypatch.setattr(context, "load_cert_chain", lambda *_: None)
    monkeypatch.setattr("ssl.create_default_context", lambda **_: context)
    monkeypatch.setattr("urllib.request.build_opener", lambda *_: SimpleNamespace(open=answer))
    list_members.main("authorities", "certificate", "key", "down:2380", "a:2380")
    assert capsys.readouterr().out == f"a:2380 {OWN_PEER} {OTHER_PEER}\n"
