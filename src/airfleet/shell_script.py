"""Shell programs that hosts run: each is a file `NAME.sh` beside the module that uses it."""

from __future__ import annotations

import importlib.resources
import shlex


def render_script(package: str, *names: str, **values: object) -> str:
    """Return the text of the programs `names` of a package, one after the other, below a line for each parameter.

    A parameter is a variable of the shell, with a name in capital letters. It is not exported, so no program that the
    script starts finds it in its environment. The text goes to a host's standard input or into a file there: a value
    may be a secret, and is no argument of a command.
    """
    lines = "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items())
    folder = importlib.resources.files(package)
    return lines + "".join((folder / f"{name}.sh").read_text(encoding="utf-8") for name in names)
