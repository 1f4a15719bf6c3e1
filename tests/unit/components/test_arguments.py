"""No secret is an argument of a process, because every user of a host can read all arguments."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from airfleet.components.host_model import Service
from airfleet.runners.fleet.plan import steps, systemd_units
from places import NINE, SECRETS, desired, parse, with_setting

# Two database hosts, so that one of them copies the other.
FLEET = with_setting(NINE, "[web, monitor]", "[web, monitor, database]").replace(
    "  web1:", "  data0: {address: 10.0.0.40, roles: [database]}\n  web1:", 1
)
HOSTS = [host.name for host in parse(FLEET).hosts]
HEREDOC = re.compile(r"<<\s*'(\w+)'([^\n]*\n).*?^\1$", re.DOTALL | re.MULTILINE)

# A variable of the shell alone: nothing follows that would be given it.
ASSIGNMENT = re.compile(r"""^[A-Z_]+=('[^']*'|"'"|[^\s'"])*$""", re.MULTILINE)


def list_arguments(script: str) -> str:
    """A shell script without what goes by standard input, or what the shell itself sets, exports or ignores."""
    bare = ASSIGNMENT.sub("", HEREDOC.sub(r"\2", script))
    return "\n".join(line for line in bare.splitlines() if not line.startswith(("export ", "#")))


def list_texts(host: str) -> Iterator[tuple[str, str]]:
    want = desired(host, FLEET)
    for service in want.services:
        yield service.unit, systemd_units.render(service)
        yield from (("command", " ".join(command)) for command in _commands(service))
    for part in want.parts:
        for job in part.jobs:
            yield job.name, list_arguments(job.script.reveal())
            yield f"the step {job.name}", list_arguments(steps.script(steps.RunJob(job)))
    for file in (*want.early, *want.files):
        yield f"the step that writes {file.path}", list_arguments(steps.script(steps.WriteFile(file)))
        # A script that a host keeps is itself a source of arguments.
        if file.path.suffix == ".sh":
            yield str(file.path), list_arguments(str(file.content))
    for service in want.services:
        yield f"the step {service.unit}", list_arguments(steps.script(steps.Bring(service, "restart")))


def _commands(service: Service) -> tuple[tuple[str, ...], ...]:
    return (service.command, *service.reload, *([service.undo] if service.undo else []))


@pytest.mark.parametrize("host", HOSTS)
def test_no_secret_is_an_argument_on_any_host(host: str) -> None:
    for what, text in list_texts(host):
        for secret in SECRETS:
            assert f"s3cret-{secret}" not in text, (what, secret)


def test_the_reader_of_scripts_sees_an_argument() -> None:
    assert "s3cret-x" in list_arguments("cat <<'END'\nhidden\nEND\npsql -c s3cret-x\n")
    assert "s3cret-x" in list_arguments("base64 -d <<'END' | tool s3cret-x\nhidden\nEND\n")
    assert "s3cret-x" in list_arguments("A='s3cret-x' tool\nB=x tool s3cret-x\n")
    assert "s3cret-x" not in list_arguments("A='two lines\ns3cret-x'\ntool\n")
    assert "s3cret-x" not in list_arguments("export A='s3cret-x'\ncat <<'END'\ns3cret-x\nEND\n")


def test_what_is_looked_for_is_there_to_be_found() -> None:
    written = "".join(
        [job.script.reveal() for host in HOSTS for part in desired(host, FLEET).parts for job in part.jobs]
    )
    assert "s3cret-airflow" in written
