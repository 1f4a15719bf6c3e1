"""A process that executes Dag files has no database. It requests variables and connections from its parent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airfleet_provider.compat.calls.lookup_recorder import LookupRecorder
from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Contains, Has

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415


def close_database(on_use: Callable[[], None]) -> None:
    """Block Airflow's database in this process, as Airflow does to execute Dag files. Each use calls `on_use`."""
    from airflow.sdk.execution_time import supervisor

    supervisor.block_orm_access()
    apply(SESSIONS, on_use)


def _make_session(blocked: Any, on_use: Callable[[], None]) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    class ToldSession(blocked):  # type: ignore[misc]
        def __init__(self, *words: Any, **options: Any) -> None:  # noqa: ANN401 - whatever a session is given
            on_use()
            super().__init__()

    return (ToldSession,)


def answer_lookups(
    ask: Callable[[Mapping[str, Any]], Mapping[str, Any]], on_lookup: Callable[[str, str], None]
) -> None:
    """Let `ask` look up the variables and connections that Dag files read. Each lookup calls `on_lookup`."""
    apply(LOOKUPS, ask, on_lookup)


def _make_lookups(
    _: Any,  # noqa: ANN401 - such a process has no supervisor
    original: Any,  # noqa: ANN401 - Airflow's own
    ask: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    on_lookup: Callable[[str, str], None],
) -> Sequence[Any]:
    from airflow.sdk.exceptions import AirflowSecretsBackendAccessDenied, ErrorType
    from airflow.sdk.execution_time import comms

    class Lookups:
        """The object that Airflow uses as the supervisor of this process."""

        def send(self, message: Any) -> Any:  # noqa: ANN401 - Airflow's messages
            match message:
                case comms.GetVariable(key=key):
                    found = ask({"kind": "variable", "name": key})
                    if "refused" in found:
                        raise AirflowSecretsBackendAccessDenied(found["refused"])
                    if found:
                        return comms.VariableResult(key=key, value=found["value"])
                    return comms.ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND, detail={"key": key})
                case comms.GetConnection(conn_id=name):
                    found = ask({"kind": "connection", "name": name})
                    if "refused" in found:
                        raise AirflowSecretsBackendAccessDenied(found["refused"])
                    if found:
                        return comms.ConnectionResult(**found)
                    return comms.ErrorResponse(error=ErrorType.CONNECTION_NOT_FOUND, detail={"conn_id": name})
                case comms.GetVariableKeys(prefix=prefix, limit=limit, offset=offset):
                    found = ask({"kind": "variable_keys", "prefix": prefix or "", "limit": limit, "offset": offset})
                    return comms.VariableKeysResult(**found)
                case comms.MaskSecret():
                    return None
            raise RuntimeError(f"a Dag file may not do this while it is loaded: {type(message).__name__}")

        async def asend(self, message: Any) -> Any:  # noqa: ANN401 - Airflow's messages
            return self.send(message)

    def load() -> list[Any]:
        return [LookupRecorder(on_lookup), *original()]

    return Lookups(), load


class KeptSettings:
    """Airflow's settings for code that reads one for each field of each task: each is read once until `forget`."""

    def __init__(self) -> None:
        self._settings: Any = None
        self._found: dict[tuple[str, str], int] = {}

    def read_from(self, settings: Any) -> None:  # noqa: ANN401 - Airflow's own
        """Read from these settings what is not known yet."""
        self._settings = settings

    def forget(self) -> None:
        """Read everything anew. To be called once code of a Dag file has run, which may change settings."""
        self._found.clear()

    def getint(self, section: str, key: str) -> int:
        """Return a number as Airflow's settings do."""
        if (found := self._found.get((section, key))) is None:
            found = self._found[section, key] = self._settings.getint(section, key)
        return found

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever Airflow's settings have
        return getattr(self._settings, name)


def keep_settings() -> KeptSettings:
    """Let this process read the settings of serialisation once, until they are to be forgotten."""
    kept = KeptSettings()
    apply(SETTINGS, kept)
    return kept


def _make_settings(original: Any, kept: KeptSettings) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    kept.read_from(original)
    return (kept,)


_COMMS, _SUPERVISOR = "airflow.sdk.execution_time.comms", "airflow.sdk.execution_time.supervisor"
SESSIONS = Patch(
    name="parser-database",
    targets=("airflow.settings:Session",),
    requires=(Contains(f"{_SUPERVISOR}:block_orm_access", ("settings.Session = ",)),),
    make=_make_session,
    without="it is not noticed what a Dag file reads of the database while it loads, and tasks would share it",
    processes="processes that execute Dag files for the release agent",
    is_required=True,
)
LOOKUPS = Patch(
    name="parser-lookups",
    targets=(
        "airflow.sdk.execution_time.task_runner:SUPERVISOR_COMMS",
        f"{_SUPERVISOR}:ensure_secrets_backend_loaded",
    ),
    requires=(
        Accepts(f"{_SUPERVISOR}:ensure_secrets_backend_loaded"),
        Has(_COMMS, ("GetVariable", "GetConnection", "GetVariableKeys", "MaskSecret", "ErrorResponse")),
        Has(_COMMS, ("VariableResult", "ConnectionResult", "VariableKeysResult")),
    ),
    make=_make_lookups,
    without="a Dag file that looks up a variable or a connection while it loads cannot be parsed",
    processes="processes that execute Dag files for the release agent",
    is_required=True,
)
SETTINGS = Patch(
    name="parser-settings",
    targets=("airflow.serialization.helpers:conf",),
    requires=(
        Contains(
            "airflow.serialization.helpers:serialize_template_field",
            ('max_length = conf.getint("core", "max_templated_field_length")',),
        ),
    ),
    make=_make_settings,
    without="a setting is read for each templated field of each task, a twentieth of the time of a Dag file",
    processes="processes that execute Dag files for the release agent",
)
