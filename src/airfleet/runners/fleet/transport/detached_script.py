"""Run a script on a host to its end, one at a time, even if the connection to the control machine is lost.

What the script prints goes to files of the host first: a program whose output nobody reads any more would be killed by
its next line.
"""

from __future__ import annotations

from airfleet.shell_script import define_function, render_script

# The files are in memory, so that a full disk does not hide what filled it. They are root's alone, as /run is.
NAME = "/run/airfleet-apply"
# Seconds to wait for the script of a killed apply, which may be installing all packages.
WAIT_S = 900
BUSY = 75


def wrap(script: str) -> str:
    """Return the script that runs another one; it first waits for one that an earlier apply left running."""
    work = define_function("work", script)
    return work + render_script(__package__, "detached_script", RUN=NAME, WAIT_S=WAIT_S, BUSY=BUSY)
