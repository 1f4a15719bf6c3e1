"""Run a script on a host to its end, one at a time, even if the control machine goes away.

What it says goes to files of the host first: a program whose output nobody reads any more would be killed by it.
"""

from __future__ import annotations

# In memory, so that a full disk does not hide what filled it; root's alone, as /run is.
NAME = "/run/airfleet-apply"
# What an apply that was killed has begun may be the installation of everything.
WAIT_S = 900
BUSY = 75


def wrap(script: str) -> str:
    """The script that runs another one; it first waits for one that an earlier apply left running."""
    return f"""\
exec 9>>{NAME}.lock
flock -w {WAIT_S} 9 || {{ echo "what an earlier apply began still runs there" >&2; exit {BUSY}; }}
rm -f {NAME}.out {NAME}.err; (umask 077; : > {NAME}.out; : > {NAME}.err)
(
{script}
) >>{NAME}.out 2>>{NAME}.err 9>&-
code=$?
cat {NAME}.out; cat {NAME}.err >&2
exit $code"""
