"""The `airfleet` command as a user runs it: in this process, which is quick, or in a process of its own."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner, Result

from airfleet.cli.main import cli, main
from deadline import PATIENCE_S

COMMAND = (sys.executable, "-m", "airfleet")


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


def run(*words: str, cwd: Path) -> Done:
    """Run the command with these words in this process, in the given folder.

    A new process starts Python and imports the command, which takes a second on a busy machine. What a command does in
    that process only (signals, the end of a pipe, a program it turns into) needs `run_process`.
    """
    out, err = io.StringIO(), io.StringIO()
    argv = sys.argv
    sys.argv = ["airfleet", *words]
    try:
        with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = _run_main()
    finally:
        sys.argv = argv
    return Done(code, out.getvalue(), err.getvalue())


def _run_main() -> int:
    try:
        main()
    except SystemExit as end:
        # The interpreter does the same with the code of a SystemExit.
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def invoke(*words: str, env: Mapping[str, str] | None = None, catch_exceptions: bool = True) -> Result:
    """Run the command with these words in this process, and keep the exception that it ended with.

    Tests invoke no command without the group that it belongs to: click keeps with a command what the group told it, and
    so a later test would not find the option `-h`.
    """
    return CliRunner().invoke(cli, words, env=env, catch_exceptions=catch_exceptions)


def run_process(*words: str, cwd: Path, timeout_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=False, cwd=cwd, timeout=timeout_s)
