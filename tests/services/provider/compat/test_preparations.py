"""What `airflow COMMAND` prepares before it imports the rest, on hosts, where no image has done it."""

from __future__ import annotations

import os
import subprocess
import sys

from deadline import COMMAND_S

PROGRAM = """
import sys
from airfleet_provider import provider_info
from airfleet_provider.compat.patches import deferred_routes

def prepare(*words):
    sys.argv = ["airflow", *words]
    provider_info.list_commands()
    return deferred_routes.PATCH.is_applied(), "celery.bin.celery" in sys.modules, "flower" in sys.modules

print(prepare("version"), prepare("celery", "worker", "--queues", "cpu"))
print(prepare("api-server", "--apps", "core"))
from fastapi import APIRouter
from airflow.api_fastapi.core_api.routes.public.version import version_router
router = APIRouter()
router.include_router(version_router)
print({type(route).__name__ for route in router.routes})
"""


def test_an_api_server_defers_its_routes_and_a_worker_leaves_flower_out() -> None:
    words, env = [sys.executable, "-c", PROGRAM], dict(os.environ)
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=env, timeout=COMMAND_S)
    assert done.stdout.splitlines()[-3:] == [
        "(False, False, False) (False, True, False)",
        "(True, True, False)",
        "{'DeferredRoute'}",
    ]
