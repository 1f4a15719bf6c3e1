"""The programs that hosts run, with their parameters, as shellcheck judges them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from airfleet.components.model import reveal
from airfleet.components.rabbitmq import server as rabbitmq
from airfleet.drills.catalogue import CATALOGUE
from airfleet.drills.fault_scripts import write_scripts
from airfleet.operations.backup.pgbackrest import repository, scripts
from airfleet.operations.database import observation
from airfleet.runners.fleet.apply.rolling_restart import haproxy_aside, haproxy_back
from airfleet.shell_script import render_script
from airfleet.spec.fleet import Backups
from places import NINE, desired

SHELLCHECK = Path(sys.prefix) / "bin" / "shellcheck"
TWO = NINE.replace("  data1:", "  data2: {address: 10.0.0.42, roles: [database]}\n  data1:") + (
    "replication: synchronous\n"
)
TWO = TWO.replace("roles: [scheduler]", "roles: [scheduler, broker]")
ORDER = scripts.Order("20261124T000000Z", "20261123-000000F")
ACTS = ("cut off", "fill the disk of", "pull the plug of")
JOBS = (
    "postgresql-create",
    "postgresql-copy",
    "postgresql-sync",
    "rabbitmq-copies",
    "rabbitmq-logins",
    "rabbitmq-former",
)


def list_scripts() -> dict[str, str]:
    hosts = [desired(name, TWO) for name in ("data1", "data2", "sched1")]
    files = {one.path.name: reveal(one.content) for host in hosts for one in host.files if one.path.suffix == ".sh"}
    jobs = {job.name: job.script.reveal() for host in hosts for part in host.parts for job in part.jobs}
    return {
        **files,
        **{name: jobs[name] for name in JOBS},
        "look at the archive": repository.build_look(Backups()),
        "lead past a host": haproxy_aside("web1", "python3.11"),
        "lead to a host": haproxy_back("web1", "python3.11"),
        "look at the server": observation.build_look(),
        **{
            name: write_scripts(CATALOGUE[name].fault).inject for name in CATALOGUE if CATALOGUE[name].fault.act in ACTS
        },
        "ask to stop": rabbitmq.ask_to_stop(next(one.place for one in hosts if one.place.host.name == "sched1")),
        "look at the data": scripts.build_look(),
        "unpack": scripts.unpack(ORDER),
        "copy the former": scripts.copy_former(ORDER),
        "fence": scripts.fence(("airfleet-scheduler.service",)),
        "recover": scripts.recover(ORDER, "/usr/lib/postgresql/15/bin", "/etc/x.conf", "python3.11"),
        "finish": scripts.finish(),
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


@pytest.mark.parametrize("name", list_scripts())
def test_every_parameter_of_a_program_is_given_and_used(name: str) -> None:
    command = [str(SHELLCHECK), "--shell=bash", "--include=SC2154,SC2034", "--enable=check-unassigned-uppercase", "-"]
    done = subprocess.run(command, input=list_scripts()[name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
