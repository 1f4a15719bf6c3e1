"""Programs that hosts run: each is a file, `NAME.sh` or `NAME.py`, beside the module that uses it."""

from __future__ import annotations

import importlib.resources
import shlex


def render_script(package: str, *names: str, **values: object) -> str:
    """Return the text of the programs `names` of a package, one after the other, below a line for each parameter.

    A parameter is a variable of the shell, with a name in capital letters. It is not exported, so no program that the
    script starts finds it in its environment. A secret may be a parameter of a script that goes to standard input, as
    that of a job does, and of no other: a connection hands those over as an argument of a shell.
    """
    lines = "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items())
    folder = importlib.resources.files(package)
    return lines + "".join((folder / f"{name}.sh").read_text(encoding="utf-8") for name in names)


def read_program(package: str, name: str) -> str:
    """Return the text of a Python program of a package, which a host's own Python runs."""
    return (importlib.resources.files(package) / f"{name}.py").read_text(encoding="utf-8")
