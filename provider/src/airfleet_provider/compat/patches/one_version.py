"""Only the newest version of the execution API, where no client has an older SDK, or until the first one calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Contains, Has

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415


def build_one_version() -> None:
    """Let an execution API that this process makes later answer the version of the installed SDK, and no older one.

    Airflow builds all routes of each version at the first call, which takes 2 CPU-seconds and 54 MiB for ten versions.
    """
    apply(PATCH)


def build_older_versions_late() -> None:
    """Let an execution API build the routes of older versions when a client of one of them calls for the first time.

    Airflow builds them all at the first call of any client. They take 54 MiB, and most platforms have one version.
    """
    apply(LATE)


def _make_late(initialize: Any, call: Any) -> Sequence[Any]:  # noqa: ANN401 - Cadwyn's own
    from cadwyn import HeadVersion, Version, VersionBundle
    from cadwyn.route_generation import _DELETED_ROUTE_TAG, copy_router, generate_versioned_routers
    from starlette.routing import Match

    def build_newest(app: Any) -> None:  # noqa: ANN401 - a Cadwyn application
        newest = app.versions.versions[0].value
        if len(app.versions.versions) == 1 or app.versions.head_version.changes or list(app.webhooks.routes):
            initialize(app)
            return
        # Copies, because Cadwyn finds the changes of older versions by the identity of a route.
        routes = copy_router(app._latest_version_router)
        for one in routes.routes:
            # Whom the application lets in is there. A copy of it would not see what is set later.
            one.dependency_overrides_provider = app._dependency_overrides_provider
        routes.routes = [one for one in routes.routes if _DELETED_ROUTE_TAG not in getattr(one, "tags", ())]
        alone = VersionBundle(HeadVersion(), Version(newest), api_version_var=app.versions.api_version_var)
        built = generate_versioned_routers(
            routes,
            alone,
            api_version_parameter_name=app.api_version_parameter_name,
            api_version_location=app._api_version_location,
        )
        app._add_versioned_routers(built.endpoints[newest], version=newest)

        def build_older() -> None:
            found = generate_versioned_routers(
                app._latest_version_router,
                webhooks=app.webhooks,
                versions=app.versions,
                api_version_parameter_name=app.api_version_parameter_name,
                api_version_location=app._api_version_location,
            )
            for version, router in found.endpoints.items():
                if version != newest:
                    app._add_versioned_routers(router, version=version)
            app._versioned_webhook_routers.update(found.webhooks)

        vars(app.router)[_OLDER] = (newest, build_older)
        app._cadwyn_initialized = True

    async def build_and_call(router: Any, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - of ASGI
        if (found := vars(router).get(_OLDER)) and scope["type"] == "http":
            newest, build_older = found
            # The pages that describe the API show all versions.
            if router.api_version_var.get(None) != newest or any(
                one.matches(scope)[0] is not Match.NONE for one in router.unversioned_routes
            ):
                build_older()
                del vars(router)[_OLDER]
        await call(router, scope, receive, send)

    return build_newest, build_and_call


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


# What a router keeps to build its older versions: the newest, and the function.
_OLDER = "airfleet_older_versions"
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
_ROOT = "cadwyn.routing:_RootCadwynAPIRouter"
LATE = Patch(
    name="late-versions",
    targets=("cadwyn:Cadwyn._cadwyn_initialize", f"{_ROOT}.__call__"),
    requires=(
        Accepts("cadwyn:VersionBundle", ("head", "newest"), ("api_version_var",)),
        Accepts("cadwyn:Cadwyn._add_versioned_routers", ("self", "router"), ("version",)),
        Contains(
            "cadwyn:Cadwyn.__init__", ("APIRouter(dependency_overrides_provider=self._dependency_overrides_provider",)
        ),
        Contains(
            "cadwyn:Cadwyn._cadwyn_initialize",
            (
                "generated_routers = generate_versioned_routers(",
                "self._latest_version_router,",
                "webhooks=self.webhooks,",
                "versions=self.versions,",
                "api_version_parameter_name=self.api_version_parameter_name,",
                "api_version_location=self._api_version_location,",
                "for version, router in generated_routers.endpoints.items():",
                "self._add_versioned_routers(router, version=version)",
                "self._versioned_webhook_routers[version] = router",
                "self._cadwyn_initialized = True",
            ),
        ),
        Contains(f"{_ROOT}.__call__", ("version = self.api_version_var.get(None)", "self.unversioned_routes")),
        Contains("cadwyn:VersionedAPIRouter.only_exists_in_older_versions", ("_DELETED_ROUTE_TAG",)),
        Has("cadwyn.route_generation", ("copy_router", "generate_versioned_routers")),
    ),
    make=_make_late,
    without="an execution API builds the routes of all its versions at its first call: 54 MiB and 2 CPU-seconds",
    processes="the execution API",
)
