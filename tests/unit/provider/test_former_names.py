"""What an installation before the provider's modules were moved still names: it is found, and says its new name."""

from __future__ import annotations

import importlib
import sys
from importlib import metadata

import pytest

# As they stood in the airflow.cfg of hosts and of projects, and in the entry points of an installation.
FORMER = {
    "airfleet_provider.bundle.FolderBundle": "airfleet_provider.bundles.folder_bundle.FolderBundle",
    "airfleet_provider.bundle.ReleaseBundle": "airfleet_provider.bundles.release_bundle.ReleaseBundle",
    "airfleet_provider.executors.results.PatientBackend": "airfleet_provider.executors.result_backend.PatientBackend",
    "airfleet_provider.identity.find_address": "airfleet_provider.network.address.find_address",
    "airfleet_provider.keepalive.ASYNC_CONNECT": "airfleet_provider.network.keepalive.ASYNC_CONNECT",
    "airfleet_provider.policy.task_policy": "airfleet_provider.routing.policy.task_policy",
    "airfleet_provider.runtime.coordinator.WarmCoordinator": (
        "airfleet_provider.task_runtime.coordinator.WarmCoordinator"
    ),
    "airfleet_provider.shelf_plugin.ShelfPlugin": "airfleet_provider.api_server.plugin.AirfleetPlugin",
}
# These never moved, and are stored in airflow.cfg too.
KEPT = (
    "airfleet_provider.access.manager.FabAuthManager",
    "airfleet_provider.executors.celery_executor.CeleryExecutor",
    "airfleet_provider.executors.local_executor.LocalExecutor",
    "airfleet_provider.moved.load",
)


def find(path: str) -> object:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize(("former", "now"), FORMER.items())
def test_a_stored_name_still_means_the_same_and_warns(former: str, now: str) -> None:
    module = former.rpartition(".")[0]
    sys.modules.pop(module, None)
    wanted = find(now)  # Airflow turns warnings into lines of its log when it is imported
    with pytest.warns(DeprecationWarning, match=f"{module} is now airfleet_provider"):
        assert find(former) is wanted


@pytest.mark.parametrize("path", KEPT)
def test_a_name_that_never_moved_is_there(path: str) -> None:
    assert find(path)


def test_an_installation_names_no_former_module() -> None:
    former = {path.rpartition(".")[0] for path in FORMER}
    stale = [one.value for one in metadata.distribution("airfleet-provider").entry_points if one.module in former]
    assert not stale, "this environment was installed before the modules were moved: tools/bootstrap dev"
