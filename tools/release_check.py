"""Build what is released, install it where the repository is not, and run a platform from it.

python tools/release_check.py            the whole check, a few minutes
python tools/release_check.py --build    build and look inside; no platform
python tools/release_check.py --python 3.13

It prints each step with its time. The first step that fails ends the check, and its output is shown. All files are in a
temporary folder, and no process is left.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from airfleet.runners.local.ports import find_free

ROOT = Path(__file__).parents[1]
UV = Path(sys.executable).with_name("uv")
DAG = "daily_sales"
RUN = "release-check"
RUN_S = 180.0
FINISHED = ("success", "failed")


class CheckError(Exception):
    """A step failed. The text tells a person why."""


@dataclass(frozen=True, slots=True)
class Built:
    """The files of one release."""

    airfleet: Path
    provider: Path
    sdist: Path


def main() -> int:
    """Run the steps, and return the exit code."""
    parser = argparse.ArgumentParser(description="Check what is released, without the repository.")
    parser.add_argument("--build", action="store_true", help="build and look inside; start no platform")
    own = getattr(sys, "_base_executable", sys.executable)
    parser.add_argument("--python", default=own, help="the Python to install for, as uv names it  [default: this one]")
    parser.add_argument("--keep", type=Path, help="a folder that the built files are copied to")
    arguments = parser.parse_args()
    begun = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="airfleet-release-") as name:
            scratch = Path(name)
            scratch.chmod(0o755)  # root runs PostgreSQL as another user, who must get through
            check(scratch, python=None if arguments.build else arguments.python, keep=arguments.keep)
    except CheckError as error:
        print(f"release-check: {error}", file=sys.stderr)
        return 1
    print(f"release-check: all is well after {time.monotonic() - begun:.1f} s")
    return 0


def check(scratch: Path, *, python: str | None, keep: Path | None) -> None:
    """Run all steps in their order. Without a `python`, no platform is run.

    Raises:
        CheckError: A step failed. The later ones were not run.
    """
    with step("the version, its tag and its section of the changelog agree"):
        check_version()
    with step("build both wheels and the sdist"):
        built = build(scratch / "dist")
    with step("build the same wheel from the sdist alone"):
        check_sdist(built, scratch / "from-sdist")
    with step("look for locks, skeleton and provider in the wheel"):
        check_contents(built)
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        for path in (built.airfleet, built.provider, built.sdist):
            shutil.copy(path, keep)
    if python:
        run_platform(built, scratch, python)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Print a step with its time when it has ended well."""
    begun = time.monotonic()
    yield
    print(f"{time.monotonic() - begun:7.1f} s  {title}", flush=True)


def check_version() -> None:
    """Check that the version is that of the commit's tag, if it has one, and that the changelog has a section for it.

    Raises:
        CheckError: One of the two is not so.
    """
    version = read_version()
    tags = run(["git", "-C", ROOT, "tag", "--points-at", "HEAD", "v*"]).split()
    if tags and tags != [f"v{version}"]:
        raise CheckError(f"this commit has the tag {', '.join(tags)}, and src/airfleet/__init__.py says {version}")
    heading = f"## [{version}]" if tags else "## [Unreleased]"
    if heading not in (ROOT / "CHANGELOG.md").read_text():
        raise CheckError(f"CHANGELOG.md has no section {heading}")


def read_version() -> str:
    """Return the version number of both distributions."""
    text = (ROOT / "src/airfleet/__init__.py").read_text()
    return str(re.findall(r'^__version__ = "(.+)"', text, re.MULTILINE)[0])


def build(target: Path, source: Path = ROOT) -> Built:
    """Build both wheels and the sdist into `target`, with what the lock installed here. Nothing is downloaded."""
    own = ["--no-build-isolation", "--python", sys.executable, "--out-dir", target]
    run([UV, "build", "--quiet", "--wheel", *own, source])
    run([UV, "build", "--quiet", "--sdist", *own, source])
    run([UV, "build", "--quiet", "--wheel", *own, source / "provider"])
    return Built(
        airfleet=next(target.glob("airfleet-*.whl")),
        provider=next(target.glob("airfleet_provider-*.whl")),
        sdist=next(target.glob("airfleet-*.tar.gz")),
    )


def check_sdist(built: Built, folder: Path) -> None:
    """Build the wheel from the sdist.

    Raises:
        CheckError: It differs from the wheel that the repository makes.
    """
    folder.mkdir()
    with tarfile.open(built.sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    again = build(folder / "dist", source)
    if read_names(built.airfleet) != read_names(again.airfleet):
        different = sorted(read_names(built.airfleet) ^ read_names(again.airfleet))
        raise CheckError(f"the wheel from the sdist has other files: {', '.join(different[:5])}")


def read_names(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


def check_contents(built: Built) -> None:
    """Look for the files of the repository in both wheels.

    Raises:
        CheckError: A file is in neither of them.
    """
    names = read_names(built.airfleet)
    wanted = {
        *(f"airfleet/{path.relative_to(ROOT / 'src/airfleet')}" for path in list_tracked(ROOT / "src/airfleet")),
        *(f"airfleet/{path.relative_to(ROOT)}" for path in list_tracked(ROOT / "constraints")),
        f"airfleet/wheels/{built.provider.name}",
    }
    own = ROOT / "provider" / "src"
    inside = {str(path.relative_to(own)) for path in list_tracked(own)}
    if missing := sorted((wanted - names) | (inside - read_names(built.provider))):
        raise CheckError(f"the wheels lack {', '.join(missing[:5])}")


def list_tracked(folder: Path) -> list[Path]:
    """Return the files of a folder that git tracks."""
    return [folder / name for name in run(["git", "-C", folder, "ls-files", "-z", "."]).split("\0") if name]


def run_platform(built: Built, scratch: Path, python: str) -> None:
    """Install the one wheel as a user does, and run a new project's Dag to its end."""
    home, project = scratch / "home", scratch / "shop"
    home.mkdir()
    environment = make_environment(home)
    airfleet = home / "bin" / "airfleet"

    def call(*words: object, within: float = 600) -> str:
        return run([airfleet, *words], cwd=scratch, environment=environment, within=within)

    with step("uv tool install, from the wheel alone"):
        run(
            [UV, "tool", "install", "--quiet", "--python", python, built.airfleet], cwd=scratch, environment=environment
        )
    with step("airfleet init shop"):
        call("init", "shop")
        write_port(project / "fleet.yaml")
    try:
        with step("airfleet up --detach: makes the environment from the lock, and a platform"):
            call("up", "--detach", "shop")
        with step("nothing is imported from the repository"):
            check_origin(home, project, environment)
        with step("airfleet test"):
            call("test", "--project", "shop", "-q")
        with step(f"a run of {DAG} to success"):
            call("airflow", "--project", "shop", "dags", "unpause", DAG)
            run_dag(call)
        with step("airfleet release check"):
            call("release", "check", "--project", "shop", "--no-tests")
        with step("airfleet down"):
            pids = list_pids(json.loads(call("status", "shop", "--json")))
            call("down", "shop")
            if left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]:
                raise CheckError(f"these processes are left: {left}")
        with step("airfleet up --detach, again; airfleet down"):
            call("up", "--detach", "shop")
            call("down", "shop")
    finally:
        subprocess.run(
            [airfleet, "down", "--now", "shop"], cwd=scratch, env=environment, capture_output=True, check=False
        )


def make_environment(home: Path) -> dict[str, str]:
    """Return the environment of a user who never cloned the repository. It shares uv's cache with this process."""
    cache = run([UV, "cache", "dir"]).strip()
    kept = {key: os.environ[key] for key in os.environ if key.startswith(("UV_", "SSL_", "HTTP", "http", "NO_", "no_"))}
    return {
        **kept,
        "HOME": str(home),
        "PATH": f"{home / 'bin'}:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "UV_CACHE_DIR": cache,
        "UV_TOOL_DIR": str(home / "tools"),
        "UV_TOOL_BIN_DIR": str(home / "bin"),
    }


def write_port(file: Path) -> None:
    """Write a free port of this machine into the project's fleet.yaml."""
    port = find_free()
    lines = [line for line in file.read_text().splitlines() if not line.startswith("ports:")]
    file.write_text("\n".join([*lines, f"ports: {{api: {port}}}", ""]))


def check_origin(home: Path, project: Path, environment: Mapping[str, str]) -> None:
    """Ask each Python of the installation where it imports from.

    Raises:
        CheckError: One of them imports from the repository.
    """
    tool = home / "tools" / "airfleet" / "bin" / "python"
    (runtime,) = (project / ".airfleet" / "environments").glob("*/bin/python")
    ask = (
        "import sys; from importlib.util import find_spec; print(*sys.path, sep='\\n'); "
        "print(*(find_spec(name).origin for name in sys.argv[1:]), sep='\\n')"
    )
    for python, names in ((tool, ["airfleet"]), (runtime, ["airfleet", "airfleet_provider", "airflow"])):
        said = run([python, "-P", "-c", ask, *names], cwd=home, environment=environment)
        if str(ROOT) in said:
            raise CheckError(f"{python} imports from the repository:\n{said}")


def run_dag(call: Callable[..., str]) -> None:
    """Trigger the new project's Dag, and wait for the end of its run.

    Raises:
        CheckError: The run failed, or did not end in time.
    """
    call("airflow", "--project", "shop", "dags", "trigger", DAG, "--run-id", RUN)
    deadline = time.monotonic() + RUN_S
    state = "none"
    while state not in FINISHED and time.monotonic() < deadline:
        said = call("airflow", "--project", "shop", "dags", "list-runs", DAG, "--output", "json")
        # Airflow's log lines come before the list.
        runs = json.loads(said[said.index("[{") :])
        state = next(one["state"] for one in runs if one["run_id"] == RUN)
        time.sleep(0.5)
    if state != "success":
        raise CheckError(f"the run of {DAG} is {state!r} after {RUN_S:g} s at most")


def list_pids(status: Mapping[str, Any]) -> list[int]:
    """Return the pids of a platform's processes, with that of its supervisor."""
    return [one["pid"] for one in status["components"] if one["pid"]]


def run(
    argv: Sequence[object],
    *,
    cwd: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    within: float = 600,
) -> str:
    """Run a command, for `within` seconds at most, and return what it wrote to stdout.

    Raises:
        CheckError: The command failed or did not end in time. The error has its output.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=within
        )
    except subprocess.TimeoutExpired as error:
        raise CheckError(f"{' '.join(words)} did not end within {within:g} s") from error
    if done.returncode:
        raise CheckError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
