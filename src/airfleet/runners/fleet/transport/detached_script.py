"""Run a script on a host to its end, one at a time, even if the connection to the control machine is lost.

The output goes to files of the host first. A program that writes to a lost connection would be killed.
"""

from __future__ import annotations

from airfleet.shell_script import define_function, render_script

# The files are in memory, so that a full disk does not hide its cause. Only root can write to /run.
NAME = "/run/airfleet-apply"
# Seconds to wait for the script of a killed apply, which may be installing all packages.
WAIT_S = 900
BUSY = 75


def wrap(script: str) -> str:
    """Return a script that runs another one. It first waits for the script of an earlier apply."""
    work = define_function("work", script)
    return work + render_script(__package__, "detached_script", RUN=NAME, WAIT_S=WAIT_S, BUSY=BUSY)
