"""Airflow's settings import jsonschema, which builds a grammar of IRIs that hardly a process needs: here it waits.

The grammar takes 20 MB and half a second of CPU, in each process that imports Airflow for itself. Only a schema with
the format `iri` or `iri-reference` uses it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

PACKAGE = "rfc3987_syntax"
USER = "jsonschema"


def defer() -> None:
    """Let jsonschema import the grammar when it first checks an IRI. Call it before the first import of Airflow.

    Nothing else sees a difference: who imports the package gets the package.
    """
    if PACKAGE in sys.modules or f"{USER}._format" in sys.modules or not importlib.util.find_spec(PACKAGE):
        return
    stub = ModuleType(PACKAGE)
    vars(stub)["is_valid_syntax"] = _is_valid_syntax
    sys.modules[PACKAGE] = stub
    try:
        importlib.import_module(USER)
    except ImportError:
        return  # Airflow says it better
    finally:
        del sys.modules[PACKAGE]


def _is_valid_syntax(term: str, value: str) -> bool:
    # This import is what `defer` puts off.
    return bool(importlib.import_module(PACKAGE).is_valid_syntax(term, value))
