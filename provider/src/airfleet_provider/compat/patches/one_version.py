"""Only the newest version of the execution API, in a process whose one client is its own SDK."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Contains

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415


def build_one_version() -> None:
    """Let an execution API that this process makes later answer the version of the installed SDK, and no older one.

    Airflow builds all routes of each version at the first call, which takes 2 CPU-seconds and 54 MiB for ten versions.
    """
    apply(PATCH)


def _make(bundle: Any, create: Any) -> Sequence[Any]:  # noqa: ANN401 - Cadwyn's, and a function of Airflow's
    from airflow.sdk.api.datamodels._generated import API_VERSION
    from cadwyn import HeadVersion, Version, VersionBundle
    from cadwyn.route_generation import _DELETED_ROUTE_TAG

    if bundle.versions[0].value != API_VERSION:  # an SDK of another version than Airflow's needs an older one
        return bundle, create

    def create_one_version(*words: Any, **options: Any) -> Any:  # noqa: ANN401 - passed on
        app = create(*words, **options)
        router = app._latest_version_router
        # Cadwyn refuses routes that exist in older versions only if there are no such versions.
        router.routes = [route for route in router.routes if _DELETED_ROUTE_TAG not in getattr(route, "tags", ())]
        return app

    return VersionBundle(
        HeadVersion(), Version(API_VERSION), api_version_var=bundle.api_version_var
    ), create_one_version


_VERSIONS = "airflow.api_fastapi.execution_api.versions"
_APP = "airflow.api_fastapi.execution_api.app"
PATCH = Patch(
    name="one-version",
    targets=(f"{_VERSIONS}:bundle", f"{_APP}:create_task_execution_api_app"),
    requires=(
        Accepts("cadwyn:VersionBundle", ("head", "newest"), ("api_version_var",)),
        Contains(
            f"{_APP}:create_task_execution_api_app",
            ("from airflow.api_fastapi.execution_api.versions import bundle", "versions=bundle"),
        ),
        Contains("cadwyn:VersionedAPIRouter.only_exists_in_older_versions", ("_DELETED_ROUTE_TAG",)),
        Contains("cadwyn.applications:Cadwyn._cadwyn_initialize", ("self._latest_version_router",)),
    ),
    make=_make,
    without="`airfleet dag test` builds the routes of all versions of the execution API before the first task",
    processes="`airfleet dag test`",
)
