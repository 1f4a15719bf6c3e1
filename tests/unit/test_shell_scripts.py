"""The programs that hosts run, with their parameters, as shellcheck judges them."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from airfleet.components.host_model import Folder, HostFile, Job, Stage
from airfleet.components.hosts import keepalived
from airfleet.components.model import reveal
from airfleet.components.postgresql import patroni
from airfleet.components.rabbitmq import server as rabbitmq
from airfleet.drills.catalogue import CATALOGUE
from airfleet.drills.fault_scripts import write_scripts
from airfleet.drills.operator_actions import COMMANDS
from airfleet.operations import commands, fallbacks
from airfleet.operations.backup.pgbackrest import repository, scripts
from airfleet.operations.workers import access
from airfleet.runners.fleet import journals, lease
from airfleet.runners.fleet.apply import applier, rolling_restart
from airfleet.runners.fleet.plan import facts, steps
from airfleet.runners.fleet.transport import database_cluster, detached_script, http_request
from airfleet.shell_script import render_script
from airfleet.spec.fleet import Backups
from airfleet.spec.secrets import Secret
from places import NINE, desired

SHELLCHECK = Path(sys.prefix) / "bin" / "shellcheck"
TWO = NINE.replace("  data1:", "  data2: {address: 10.0.0.42, roles: [database]}\n  data1:") + (
    "replication: synchronous\n"
)
TWO = TWO.replace("roles: [scheduler]", "roles: [scheduler, broker]")
ORDER = scripts.Order("20261124T000000Z", "20261123-000000F")
JOBS = (
    "postgresql-create",
    "postgresql-adopt",
    "postgresql-roles",
    "etcd-join",
    "etcd-content",
    "rabbitmq-copies",
    "rabbitmq-logins",
    "rabbitmq-former",
)


def list_steps() -> dict[str, str]:
    """A script for each kind of step."""
    services = {one.name: one for host in ("sched1", "cpu1", "web1") for one in desired(host).services}
    actions: dict[str, steps.Action] = {
        "install": steps.Install(("haproxy",)),
        "install what is sent": steps.Install(("haproxy",), "web1"),
        "make a folder": steps.MakeFolder(Folder(Path("/var/lib/x"))),
        "write a file": steps.WriteFile(HostFile(Path("/etc/airfleet/x"), "hi")),
        "unpack Airflow": steps.Unpack("0123", "python3.11"),
        "remove Airflow": steps.RemoveRuntime("0123"),
        "run a job": steps.RunJob(Job("test", "a test", Stage.METADATA, Secret("true"), "root")),
        "start the scheduler": steps.Bring(services["scheduler"], "start"),
        "start the releaser": steps.Bring(services["releaser"], "start"),
        "restart a worker": steps.Bring(services["worker-cpu"], "restart"),
        "reload the balancer": steps.Bring(services["balancer"], "reload"),
        "remove a service": steps.RemoveService("airfleet-x.service"),
    }
    return {name: steps.script(action) for name, action in actions.items()}


@functools.cache
def list_scripts() -> dict[str, str]:
    """Return every program that a host runs, by its name. All tests share the result."""
    hosts = [desired(name, TWO) for name in ("data1", "data2", "sched1")]
    files = {one.path.name: reveal(one.content) for host in hosts for one in host.files if one.path.suffix == ".sh"}
    alone = desired("data1")
    jobs = {job.name: job.script.reveal() for host in (alone, *hosts) for part in host.parts for job in part.jobs}
    return {
        **files,
        **{name: jobs[name] for name in JOBS},
        "look at the archive": repository.build_look(Backups()),
        "lead past a host": rolling_restart.haproxy_aside("web1", "python3.11"),
        "lead to a host": rolling_restart.haproxy_back("web1", "python3.11"),
        "ask Patroni": database_cluster.build_question(),
        "hand over": patroni.hand_over(hosts[0].place),
        "ask to stop": rabbitmq.ask_to_stop(next(one.place for one in hosts if one.place.host.name == "sched1")),
        "look at the data": scripts.build_look(),
        "unpack": scripts.unpack(ORDER),
        "copy the former": scripts.copy_former(ORDER),
        "fence": scripts.fence(("airfleet-scheduler.service",), is_replica=True),
        "recover": scripts.recover(ORDER, "/usr/lib/postgresql/15/bin", "/etc/x.conf", "python3.11"),
        "finish": scripts.finish(),
        **list_steps(),
        "run steps": applier.build_script([steps.Step("h1", Stage.BASE, steps.ReloadUnits(), "do", "why")], "me"),
        "run a script to its end": detached_script.wrap("true"),
        "ask for a page": http_request.build_command("h", 80, "/", timeout_s=1),
        "take the lease": lease.build_script("me", "token"),
        "release the lease": lease.build_release("token"),
        "show journals": journals.build_script(journals.JournalQuery("a", since="now")),
        "ask HAProxy": keepalived.render_program(),
        "probe": facts.build_probe("10.0.0.1"),
        "compare": facts.build_question((), (), ("airfleet",), ()),
        "look at workers before a restart": rolling_restart.look_behind(desired("cpu1").services),
        "leave words": commands.build_words(["info"], "u"),
        "interrupt a command": commands.build_interrupt("SIGINT", "u"),
        "run a command": commands.build_script("u", term=None),
        "look at counts": fallbacks.build_look(Path("/var/lib/x"), "airfleet"),
        "look at workers": access.build_look(["cpu"]),
        "drain a pool": access.build_marking("cpu", drained=True),
        **{
            f"{kind} {name}": text
            for name in CATALOGUE
            if CATALOGUE[name].fault.act not in COMMANDS
            for kind, text in asdict(write_scripts(CATALOGUE[name].fault)).items()
            if text
        },
    }


def test_a_parameter_reaches_the_program_as_it_is_and_no_other_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "__init__.py").touch()
    (tmp_path / "programs" / "say.sh").write_text('printf %s "$WORDS"\nenv\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    words = 'it\'s $(date) "and"\nmore'
    text = render_script("programs", "say", WORDS=words)
    done = subprocess.run(["/bin/sh", "-s"], input=text, capture_output=True, text=True, check=True, env={})
    assert done.stdout.startswith(words)
    assert "WORDS" not in done.stdout


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What one run of shellcheck says of every program. A run for each of them takes seconds of CPU together."""
    folder = tmp_path_factory.mktemp("programs")
    names = {str(folder / f"{number}.sh"): name for number, name in enumerate(list_scripts())}
    for path, name in names.items():
        Path(path).write_text(list_scripts()[name])
    options = ["--shell=bash", "--include=SC2154,SC2034", "--enable=check-unassigned-uppercase", "--format=json1"]
    command = [str(SHELLCHECK), *options, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    found: dict[str, list[str]] = {name: [] for name in names.values()}
    for one in json.loads(done.stdout)["comments"]:
        found[names[one["file"]]].append(f"line {one['line']}: {one['message']}")
    return found


@pytest.mark.parametrize("name", list_scripts())
def test_every_parameter_of_a_program_is_given_and_used(name: str, findings: dict[str, list[str]]) -> None:
    assert findings[name] == []
