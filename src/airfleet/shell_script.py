"""Programs that run on hosts. Each is a file, `NAME.sh` or `NAME.py`, beside the module that uses it."""

from __future__ import annotations

import importlib.resources
import shlex


def render_script(package: str, *names: str, **values: object) -> str:
    """Return one shell script: a line for each parameter in `values`, then the texts of the programs `names`.

    A parameter becomes a shell variable with a name in capital letters. The script does not export it, so it is not in
    the environment of the programs that the script starts. A parameter may be a secret only if the script goes to the
    standard input of a shell, as the script of a job does. A connection passes other scripts as an argument of a shell.
    """
    lines = "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items())
    folder = importlib.resources.files(package)
    return lines + "".join((folder / f"{name}.sh").read_text(encoding="utf-8") for name in names)


def define_function(name: str, script: str) -> str:
    """Return a script as a function of the shell, for a program that calls it by this name."""
    return f"{name}() {{\n{script}\n}}\n"


def read_program(package: str, name: str) -> str:
    """Return the text of a Python program of a package. The Python of a host's system runs it."""
    return (importlib.resources.files(package) / f"{name}.py").read_text(encoding="utf-8")
