"""The library that rewrites the source of decorated tasks is imported when a task needs it (ADR 19).

Airflow's task SDK imports libcst, 62 modules with 7 MB, for tasks whose function runs in another environment, such as
those of `@task.virtualenv`.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Contains, Counts

log = logging.getLogger("airfleet")

PACKAGE = "libcst"
_MODULE = "airflow.sdk.definitions._internal.decorators"
_REWRITE = f"{_MODULE}:remove_task_decorator"


def defer() -> None:
    """Let Airflow's SDK import the library at its first use. Call it before the first import of Airflow.

    Who imports the package gets the package.
    """
    if PACKAGE in sys.modules or _MODULE in sys.modules or not importlib.util.find_spec(PACKAGE):
        return
    sys.meta_path.insert(0, TaskSourceFinder())


class TaskSourceFinder:
    """Finds one module of Airflow, once, and lets it be imported without the library."""

    def find_spec(self, name: str, path: Sequence[str] | None, _: ModuleType | None = None) -> ModuleSpec | None:
        """Return what Python itself finds, with another way to execute it. For any other module, return None."""
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            vars(spec.loader)["exec_module"] = functools.partial(_execute, spec.loader.exec_module)
        return spec


def _execute(execute: Callable[[ModuleType], None], module: ModuleType) -> None:
    if PACKAGE not in sys.modules:
        stub = ModuleType(PACKAGE)
        vars(stub)["CSTTransformer"] = object  # the base of a class that only the function behind the patch uses
        sys.modules[PACKAGE] = stub
        try:
            execute(module)
        except Exception as error:  # another Airflow, which uses more of it; if it is an error, it comes again below
            log.debug("Airflow needs more of %s: %s", PACKAGE, error)
        else:
            if apply(PATCH) is None:
                return
        finally:
            del sys.modules[PACKAGE]
    execute(module)


@functools.cache
def _load() -> ModuleType:
    """Import the library, and return Airflow's module with it."""
    importlib.import_module(PACKAGE)
    room = importlib.import_module(_MODULE.rpartition(".")[0])
    spec = PathFinder.find_spec(_MODULE, room.__path__)
    if spec is None or spec.loader is None:
        raise ImportError(_MODULE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _make(_: Any) -> Sequence[Callable[..., str]]:  # noqa: ANN401 - Airflow's own
    def remove_task_decorator(python_source: str, task_decorator_name: str) -> str:
        rewritten: str = _load().remove_task_decorator(python_source, task_decorator_name)
        return rewritten

    return (remove_task_decorator,)


PATCH = Patch(
    name="task-source",
    targets=(_REWRITE,),
    requires=(
        Contains(_MODULE, ("import libcst as cst", "class _TaskDecoratorRemover(cst.CSTTransformer):")),
        Counts(_MODULE, "_TaskDecoratorRemover", 2),
        Counts(_MODULE, "CSTTransformer", 1),
        Contains(_REWRITE, ("cst.parse_module(python_source)", "_TaskDecoratorRemover(task_decorator_name)")),
        Accepts(_REWRITE, ("python_source", "task_decorator_name")),
    ),
    make=_make,
    without="every process imports a library for rewriting source, which takes 7 MB and a quarter of a second of CPU",
    processes="the image and the task image of one machine, and zygote pools",
)
