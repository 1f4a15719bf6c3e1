"""Within any step of a rotation, every host accepts the secrets that any other host uses."""

from __future__ import annotations

import base64
import configparser
import functools
import itertools
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from airfleet.components import token_keys
from airfleet.components.host_model import FleetCredentials, Place
from airfleet.components.hosts import host_parts, monitor, token_files
from airfleet.components.model import reveal
from airfleet.components.rabbitmq import server as rabbitmq
from airfleet.components.rabbitmq.permissions import hash_password
from airfleet.components.token_keys import TokenUse
from airfleet.runners.fleet.plan import systemd_units
from airfleet.runners.fleet.plan.diff import DesiredHost
from airfleet.spec.secrets import Rotating, Secret
from airfleet.workspace.rotation import introduce
from airfleet_provider.api_server import acknowledge_page
from airfleet_provider.executors.message_signing import Signer, Verifier
from places import CREDENTIALS, NINE, config_path, parse, place, with_setting
from rotations import show_steps, walk

# Two database hosts, so that one of them copies the other.
DATA = "  data1: {address: 10.0.0.41, roles: [database, broker]}\n"
TEXT = with_setting(NINE, "[web, monitor]", "[web, monitor, database]").replace(DATA, "")
FLEET = parse(with_setting(TEXT, "  web1:", f"{DATA}  web1:"))
URL = re.compile(r"://([\w.-]+):([\w-]+)@[^:/]*/?[^:\s]*:?(\d+)")
PLATFORM = ("airflow", "fernet_key", "jwt_secret", "jwt_key", "secret_key", "admin")
CLUSTER = ("etcd", "rewinder")
PAIR = "the introduction of jwt_key"
OWN = ("writer", "reader", "replication", "monitor", "publisher", "pool-cpu", "signing", "erlang_cookie")
Fleet = dict[str, DesiredHost]
# To whom, with which login, and with what: a password, its hash, or a key.
Need = tuple[str, str, str]


def exchange(name: str, value: Any) -> FleetCredentials:  # noqa: ANN401 - a Rotating, for a field of another type each
    """Return the credentials of the fleet with this value of one secret."""
    if name == "warehouse":
        databases: dict[str, Secret] = {"warehouse": value}
        return replace(CREDENTIALS, platform=replace(CREDENTIALS.platform, databases=databases))
    if name in PLATFORM:
        return replace(CREDENTIALS, platform=replace(CREDENTIALS.platform, **{name: value}))
    if name in ("writer", "reader"):
        return replace(CREDENTIALS, results=replace(CREDENTIALS.results, **{name: value}))
    if name in CLUSTER:
        return replace(CREDENTIALS, cluster=replace(CREDENTIALS.cluster, **{name: value}))
    if name.startswith("pool-"):
        pools = {**CREDENTIALS.consumers, name.removeprefix("pool-"): value}
        return replace(CREDENTIALS, consumers=pools)
    return replace(CREDENTIALS, **{name: value})


def rotate() -> Iterator[Rotating]:
    """Yield the value of a secret before a rotation and in each of its steps."""
    yield Rotating("first0")
    yield from walk("first0", "second0")


def introduce_pair() -> Iterator[Rotating]:
    """Yield the key of tokens before a fleet of an earlier version has one, and in each step of its introduction."""
    yield Rotating("")
    yield from show_steps(introduce(Secret("second0")))


@functools.cache
def render_steps(name: str) -> tuple[Fleet, ...]:
    """Return the fleet in each step of a rotation of this secret. Several tests share the result."""
    steps = introduce_pair() if name == PAIR else rotate()
    return tuple(render(exchange("jwt_key" if name == PAIR else name, value)) for value in steps)


def render(credentials: FleetCredentials) -> Fleet:
    return {host.name: render_host(host.name, credentials) for host in FLEET.hosts}


def render_host(name: str, credentials: FleetCredentials) -> DesiredHost:
    where: Place = replace(place(FLEET, name), credentials=credentials)
    return DesiredHost(where, host_parts.describe(where, ssh_ports=(22,)))


def read(fleet: Fleet, host: str, path: str) -> str:
    return next((reveal(file.content) for file in fleet[host].files if str(file.path) == path), "")


def read_json(fleet: Fleet, host: str, path: str) -> Any:  # noqa: ANN401 - whatever the file holds
    return json.loads(read(fleet, host, path))


def read_config(fleet: Fleet, host: str) -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read_string(read(fleet, host, config_path("server")))
    return config


def list_logins(fleet: Fleet) -> Iterator[Need]:
    """Yield every login that a host uses: the service, the name and the password."""
    for want in fleet.values():
        for file in want.files:
            text = reveal(file.content)
            for login, password, port in URL.findall(text):
                if port == "5671":
                    yield "broker", login, hash_password(login, Secret(password))
                else:
                    yield "database", login, password
            if file.path.name == "patroni.yml":
                config = json.loads(text)
                for role in ("replication", "rewind"):
                    one = config["postgresql"]["authentication"][role]
                    yield "database", one["username"], one["password"]
                yield "etcd", config["etcd3"]["username"], config["etcd3"]["password"]


def name_token_keys(fleet: Fleet, host: str) -> set[str]:
    """Return the public halves of the keys with which the processes of a host sign tokens, or the name of a secret."""
    texts = [read(fleet, host, str(token_files.FOLDER / use.private)) for use in TokenUse]
    return {show_public(pem) for pem in texts if pem} or {read_config(fleet, host)["api_auth"]["jwt_kid"]}


def show_public(pem: str) -> str:
    key = load_pem_private_key(pem.encode(), None)
    assert isinstance(key, Ed25519PrivateKey)
    return base64.urlsafe_b64encode(key.public_key().public_bytes_raw()).decode().rstrip("=")


def list_used(fleet: Fleet) -> set[Need]:
    """Return everything that a host uses and another must accept: logins, and keys that sign or encrypt."""
    sends = read_json(fleet, "sched1", "/etc/airfleet/server/celery.json")
    writes = read_config(fleet, "sched1")["core"]["fernet_key"].split(",")[0]
    keys = (("messages", "", Signer.read(sends["signing_key"]).name), ("fernet", "", writes))
    return {
        *list_logins(fleet),
        *keys,
        *(("tokens", "", name) for host in ("sched1", "web2") for name in name_token_keys(fleet, host)),
    }


def list_accepted(fleet: Fleet) -> set[Need]:
    """Return everything that the database, the broker, the workers and the web hosts accept."""
    pairs = re.findall(r'"([\w.]+)" "([\w-]+)"', read(fleet, "data1", "/etc/airfleet/pgbouncer/users.txt"))
    jobs = {job.name: job.script.reveal() for want in fleet.values() for part in want.parts for job in part.jobs}
    [roles] = [word for word in shlex.split(jobs["postgresql-roles"], comments=True) if word.startswith("SQL=")]
    pairs += re.findall(r"""ALTER ROLE "([\w.]+)" LOGIN[ A-Z]* PASSWORD '([\w-]+)'""", roles)
    [voters] = re.findall(r"LOGINS='([^']*)'", jobs["etcd-content"])
    users = read_json(fleet, "data1", "/etc/airfleet/rabbitmq/definitions.json")["users"]
    signers = Verifier.read(read_json(fleet, "cpu1", "/etc/airfleet/worker/celery-cpu.json")["public_keys"], ()).keys
    tokens = [key for use in TokenUse for key in read_json(fleet, "web2", str(token_files.FOLDER / use.public))["keys"]]
    reads = read_config(fleet, "web2")["core"]["fernet_key"].split(",")
    return {
        *(("database", login, password) for login, password in pairs),
        *(("etcd", *line.split()) for line in voters.splitlines()),
        *(("broker", user["name"], user["password_hash"]) for user in users),
        *(("messages", "", name) for name in signers),
        *(("tokens", "", key.get("x", key["kid"])) for key in tokens),
        *(("fernet", "", key) for key in reads),
    }


@pytest.mark.parametrize("name", [*PLATFORM, *OWN, *CLUSTER, "warehouse", PAIR])
def test_no_host_uses_what_another_does_not_accept(name: str) -> None:
    steps = [(list_used(fleet), list_accepted(fleet)) for fleet in render_steps(name)]
    for (used_before, accepted_before), (used_after, accepted_after) in itertools.pairwise(steps):
        used, accepted = used_before | used_after, accepted_before & accepted_after
        assert used <= accepted, used - accepted


@pytest.mark.parametrize("name", [*PLATFORM, *OWN, *CLUSTER, "warehouse"])
def test_the_former_value_is_nowhere_in_the_end(name: str) -> None:
    for want in render_steps(name)[-1].values():
        texts = [reveal(file.content) for file in want.files]
        texts += [job.script.reveal() for part in want.parts for job in part.jobs]
        assert not any("first0" in text for text in texts)


@pytest.mark.parametrize("name", ["writer", "reader", "airflow", "warehouse", "replication", "pool-cpu", "publisher"])
def test_stores_are_not_restarted_for_a_rotation(name: str) -> None:
    """PostgreSQL, PgBouncer and RabbitMQ reload their logins without a restart."""
    stores = {"airfleet-postgresql.service", "airfleet-pgbouncer.service", "airfleet-rabbitmq.service"}
    steps = render_steps(name)
    for before, after in itertools.pairwise(steps):
        for host in ("data1", "web3"):
            was, now = ({one.unit: one for one in fleet[host].services} for fleet in (before, after))
            for unit in stores & was.keys():
                old, new = (reveal(systemd_units.fingerprint(one[unit]).content).split() for one in (was, now))
                assert old[0] == new[0], (name, unit)
                assert old[1] == new[1] or now[unit].reload, (name, unit)


def test_a_task_s_logs_and_releases_are_asked_for_with_a_key_that_is_known() -> None:
    steps = render_steps("secret_key")
    for before, after in itertools.pairwise(steps):
        for user, owner in itertools.product((before, after), repeat=2):
            worker, web = configparser.ConfigParser(), configparser.ConfigParser()
            worker.read_string(read(user, "cpu1", config_path("worker")))
            web.read_string(read(owner, "web2", config_path("server")))
            others = json.loads(web.get("airfleet", "other_secret_keys", fallback="[]"))
            assert worker["api"]["secret_key"] in (web["api"]["secret_key"], *others)


@pytest.mark.parametrize("name", ["jwt_secret", "secret_key"])
def test_links_and_reports_of_alerts_are_signed_with_a_key_that_is_known(name: str) -> None:
    for before, after in itertools.pairwise(render_steps(name)):
        for user, owner in itertools.product((before, after), repeat=2):
            signs, checks = (
                read_json(fleet, "sched1", "/etc/airfleet/agents/agents.json")["notifications"]
                for fleet in (user, owner)
            )
            config = read_config(owner, "web2")
            known = read(owner, "web2", config["airfleet"]["link_keys"])
            assert signs["link_key"] in acknowledge_page.list_keys(config["api_auth"]["jwt_secret"], known)
            assert read(user, "web3", str(monitor.TOKEN)) in checks["webhook_tokens"]


def test_only_the_processes_that_sign_tokens_can_read_a_private_key_and_only_that_of_their_tokens() -> None:
    key = token_keys.PRIVATE_VARIABLE
    for host in render(CREDENTIALS).values():
        held = {file.path: file for file in host.files if file.path.name in {use.private for use in TokenUse}}
        roles = {*host.place.host.roles}
        uses = {*TokenUse} if "web" in roles else {TokenUse.TASK} if "scheduler" in roles else set()
        assert {path.name for path in held} == {use.private for use in uses}
        assert {(one.owner, one.group, one.mode) for one in held.values()} <= {("root", token_files.SIGNERS, 0o640)}
        for service in host.services:
            read = [file for file in service.files if file.path in held]
            assert [str(one.path) for one in read] == [path for name, path in service.env.items() if name == key], (
                service.name
            )
            # The others run as the same user, and have another primary group.
            groups = {service.sandbox.get("Group"), *service.sandbox.get("SupplementaryGroups", "").split()}
            assert (token_files.SIGNERS in groups) == bool(read), service.name
            if read:
                assert service.name in ("api-server", "execution-api", "scheduler")
                assert service.sandbox["Group"] == token_files.SIGNERS
                # The file of a core dump would belong to the user whom code of Dag files has.
                assert service.sandbox["LimitCORE"] == "0"


def test_a_new_key_of_tokens_restarts_only_what_signs_or_checks() -> None:
    for before, after in itertools.pairwise(render_steps("jwt_key")):
        changed = {
            new.name
            for host in before
            for old, new in zip(before[host].services, after[host].services, strict=True)
            if systemd_units.fingerprint(old).content != systemd_units.fingerprint(new).content
        }
        assert changed <= {"api-server", "execution-api", "scheduler"}


def test_what_was_encrypted_with_the_former_key_is_rewritten_before_that_key_goes() -> None:
    rewrites = [
        any("rotate-fernet-key" in job.script.reveal() for part in fleet["sched1"].parts for job in part.jobs)
        for fleet in render_steps("fernet_key")
    ]
    assert rewrites == [False, False, False, True, False]


BROKER = """\
#!/bin/sh
[ "$*" != "${*#*-n rabbit@localhost}" ] || exit 69
for word; do last=$word; done
cat > /dev/null  # as the real one does
case "$*" in
  *list_users*) [ -f "$0.down" ] && exit 69; touch "$0.deleted"
    printf '%s\\n' guest publisher pool-cpu pool-cpu.1 pool-cpu.12 $(cat "$0.more" 2>/dev/null) mine |
      grep -vxFf "$0.deleted" | sed 's/$/\t[]/';;
  *delete_user*) [ -f "$0.stuck" ] && exit 70; echo "$last" >> "$0.deleted"; [ -f "$0.late" ] && exit 67; true;;
esac
"""


def end_logins(tmp_path: Path, worker: Rotating, *former_pools: str) -> tuple[int, list[str]]:
    """Run the job that removes former logins; return its result and the removed logins."""
    tool = tmp_path / "rabbitmqctl"
    tool.write_text(BROKER)
    tool.chmod(0o755)
    want = render_host("data1", replace(exchange("pool-cpu", worker), former_pools=former_pools))
    [job] = [job for part in want.parts for job in part.jobs if job.name == "rabbitmq-logins"]
    script = "set -eu\n" + job.script.reveal().replace(rabbitmq.RABBITMQCTL, str(tool))
    done = subprocess.run(["bash", "-s"], input=script, text=True, check=False, capture_output=True)
    deleted = tmp_path / "rabbitmqctl.deleted"
    return done.returncode, deleted.read_text().split() if deleted.exists() else []


def test_former_logins_of_the_broker_end_and_nobody_else_s(tmp_path: Path) -> None:
    second = Rotating("second0", slot=1)
    assert end_logins(tmp_path, second) == (0, ["pool-cpu", "pool-cpu.12"])


def test_both_logins_stay_while_both_are_valid(tmp_path: Path) -> None:
    both = Rotating("first0", others=(Rotating("second0", slot=1),))
    assert end_logins(tmp_path, both) == (0, ["pool-cpu.12"])


def test_the_login_of_a_pool_that_is_gone_stays_while_its_workers_may_drain_and_then_ends(tmp_path: Path) -> None:
    (tmp_path / "rabbitmqctl.more").write_text("pool-gone pool-gone.3 pool-gone-too pool-old")
    both = Rotating("first0", others=(Rotating("second0", slot=1),))
    assert end_logins(tmp_path, both, "gone") == (0, ["pool-cpu.12", "pool-gone-too", "pool-old"])
    assert end_logins(tmp_path, both) == (0, ["pool-cpu.12", "pool-gone-too", "pool-old", "pool-gone", "pool-gone.3"])


def test_every_node_of_a_cluster_may_remove_the_same_logins(tmp_path: Path) -> None:
    (tmp_path / "rabbitmqctl.late").touch()  # another node was faster
    assert end_logins(tmp_path, Rotating("second0", slot=1)) == (0, ["pool-cpu", "pool-cpu.12"])


def test_a_login_that_cannot_be_removed_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "rabbitmqctl.stuck").touch()
    assert end_logins(tmp_path, Rotating("second0", slot=1)) == (1, [])


def test_a_broker_that_does_not_answer_is_no_broker_without_logins(tmp_path: Path) -> None:
    (tmp_path / "rabbitmqctl.down").touch()
    code, deleted = end_logins(tmp_path, Rotating("second0", slot=1))
    assert code != 0
    assert deleted == []
