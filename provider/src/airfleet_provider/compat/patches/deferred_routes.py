"""Routes of Airflow's APIs: FastAPI analyses them when they are first used, not at a server's start (ADR 110)."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Sequence
from typing import Any

from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Contains, Has

# Routes of plugins are analysed at once, so that a mistake in one shows at the start.
AIRFLOW = ("airflow.api_fastapi.", "airflow.providers.fab.", "airfleet_provider.")
# What FastAPI computes of an endpoint's signature, and what it computes that with.
ANALYSIS = (
    "dependant",
    "_flat_dependant",
    "_embed_body_fields",
    "body_field",
    "response_field",
    "response_fields",
    "stream_item_field",
    "is_sse_stream",
    "is_json_stream",
    "app",
)
# Where a route keeps what it was made of, until it is analysed.
GIVEN = "airfleet_given"
ANALYSERS = (
    "create_model_field",
    "get_dependant",
    "get_parameterless_sub_dependant",
    "get_flat_dependant",
    "_should_embed_body_fields",
    "get_body_field",
)


def defer_routes() -> None:
    """Let FastAPI analyse each route of Airflow at its first use.

    Airflow includes routers in routers, and FastAPI makes each route anew for each of them. It analyses 600 routes, of
    which 156 can be called. This is nine tenths of an api-server's start.
    """
    apply(PATCH)


def _make(original: Callable[..., None]) -> Sequence[Any]:
    from fastapi import routing  # noqa: PLC0415 - only a process that serves an API needs it

    without_analysis = _replace_globals(original, {name: _Nothing() for name in ANALYSERS})

    class DeferredRoute(routing.APIRoute):
        """A route until its first use. It is an ordinary route then."""

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as in FastAPI
            if name not in ANALYSIS:
                raise AttributeError(name)
            # Of two threads that come here at once, both compute the same.
            if given := vars(self).get(GIVEN):
                complete = routing.APIRoute.__new__(routing.APIRoute)
                original(complete, *given[0], **given[1])
                vars(self).update({one: vars(complete)[one] for one in ANALYSIS if one not in vars(self)})
                self.__class__ = routing.APIRoute  # type: ignore[assignment]
                vars(self).pop(GIVEN, None)
            return vars(self)[name]

    @functools.wraps(original)
    def make_route(self: Any, path: str, endpoint: Callable[..., Any], **options: Any) -> None:  # noqa: ANN401
        is_own = getattr(endpoint, "__module__", "").startswith(AIRFLOW)
        if not is_own or type(self) not in (routing.APIRoute, DeferredRoute):
            original(self, path, endpoint, **options)
            return
        without_analysis(self, path, endpoint, **options)
        for name in ANALYSIS:
            vars(self).pop(name, None)
        vars(self)[GIVEN] = (path, endpoint), options
        self.__class__ = DeferredRoute

    return (make_route,)


class _Nothing:
    """Stands in for a function of the analysis, and for what the function returns."""

    def __call__(self, *_: object, **__: object) -> _Nothing:
        return self

    def __getattr__(self, _: str) -> _Nothing:
        return self


def _replace_globals(function: Callable[..., None], replaced: dict[str, Any]) -> Callable[..., None]:
    """Return the same function with other values of some names of its module."""
    names = {**function.__globals__, **replaced}
    code: Any = function
    made = types.FunctionType(code.__code__, names, code.__name__, code.__defaults__, code.__closure__)
    made.__kwdefaults__ = code.__kwdefaults__
    return made


_ROUTE = "fastapi.routing:APIRoute"
PATCH = Patch(
    name="deferred-routes",
    targets=(f"{_ROUTE}.__init__",),
    requires=(
        Accepts(f"{_ROUTE}.__init__", ("self", "path", "endpoint")),
        Contains(
            f"{_ROUTE}.__init__",
            (
                "self.response_field = create_model_field(",
                "self.stream_item_field: ModelField | None = create_model_field(",
                "self.response_fields",
                "self.dependant = get_dependant(",
                "get_parameterless_sub_dependant(",
                "self._flat_dependant = get_flat_dependant(",
                "self._embed_body_fields = _should_embed_body_fields(",
                "self.body_field = get_body_field(",
                "self.is_sse_stream",
                "self.is_json_stream",
                "self.app = request_response(self.get_route_handler())",
            ),
        ),
        Has("fastapi.routing", ANALYSERS),
    ),
    make=_make,
    without="the start of an api-server takes 1.5 s more, in which FastAPI analyses 600 routes",
    processes="the image of one machine, api-server and execution API",
)
