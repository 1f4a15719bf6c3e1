"""The image of one machine, and the task image: two processes that share what both have imported (ADR 108).

The task image has imported what tasks and Dag files need, with the settings of the platform but none of its secrets. It
executes no code of a Dag file: its forks do, the parser and the zygote pool, and what they write to memory is their
own. A zygote pool reads the whole airflow.cfg after its fork. So does the image, which imports the rest of Airflow
then, and from which all other components are forked.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import socket
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from setproctitle import setproctitle

from airfleet_provider.contract import fallbacks, session_notes
from airfleet_provider.contract.fork_protocol import GO, SESSIONS, TASK_IMAGE, TASK_SETTINGS
from airfleet_provider.processes import (
    command_server,
    fork_server,
    heap,
    huge_pages,
    image_client,
    iri_grammar,
    lifecycle,
)

# Names two descriptors in the second program: the task image's socket, and a file in memory with the environment that
# may have secrets.
SECOND = "AIRFLEET_IMAGE_FDS"
# Is set in the third program, which there is only if the second one failed. It imports everything by itself.
WHOLE = "AIRFLEET_WHOLE_IMAGE"
COMPONENT = "AIRFLEET_COMPONENT"
DESCRIPTORS = 8
# A client sends its request at once.
REQUEST_S = 5.0
MODULES = (
    "airfleet_provider.compat.patches.task_source:defer",
    "airfleet_provider.task_runtime.zygote_pool",
    "airfleet_provider.compat.patches.prefork:import_modules",
    "airfleet_provider.compat.calls.settings_switch",
    "airfleet_provider.task_runtime.pool_launcher",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk._shared.logging.factory",
    # What the parser needs more, which is little.
    "airflow.models.serialized_dag",
    "airflow.serialization.serialized_objects",
    # The drivers of the database that Airflow's settings name.
    "psycopg2.extras",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "asyncpg",
    "airfleet_provider.compat.patches.prefork:keep_parts",
    "airfleet_provider.compat.patches.rehearsal:gather_code",
)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the image: `KIND=MODULE:FUNCTION`s for the task image, then the arguments of the fork server.

    A platform works without a task image. So where one cannot be made, the image imports everything by itself.
    """
    setproctitle("airfleet image")  # the first call must come before the environment changes
    arguments = list(sys.argv[1:] if argv is None else argv)
    kinds = dict(word.split("=", 1) for word in arguments if "=" in word)
    others = [word for word in arguments if "=" not in word]
    if descriptors := os.environ.pop(SECOND, ""):
        listener, environment = map(int, descriptors.split())
        try:
            _divide(listener, environment, int(others[-1]), kinds)
        except Exception:
            traceback.print_exc()
            _start_whole(environment, int(others[-1]))
    else:
        if not os.environ.pop(WHOLE, ""):
            try:
                _start_without_secrets(int(others[-1]))
            except Exception:
                traceback.print_exc()
        _leave_no_socket()
    fork_server.main(others)


def _leave_no_socket() -> None:
    """Remove the socket of an earlier task image: clients that find nobody there count a fault."""
    with suppress(KeyError, OSError):
        Path(os.environ["AIRFLOW_HOME"], TASK_IMAGE).unlink()


def _start_without_secrets(channel: int) -> None:
    """Write the settings without secrets, and become a program that has read nothing else. Return if there is none."""
    home = Path(os.environ["AIRFLOW_HOME"])
    iri_grammar.defer()
    from airfleet_provider.compat.calls import parsing, settings_switch  # noqa: PLC0415 - the second program needs none

    # With it, an import of Airflow opens no database.
    os.environ["_AIRFLOW__AS_LIBRARY"] = "1"
    parsing.write_open_settings(home / TASK_SETTINGS)
    del os.environ["_AIRFLOW__AS_LIBRARY"]
    settings = Path(os.environ.get("AIRFLOW_CONFIG") or home / "airflow.cfg")
    if obstacle := settings_switch.find_obstacle(home / TASK_SETTINGS, settings, os.environ):
        (home / TASK_SETTINGS).unlink()
        reason = f"there is no task image: {obstacle}"
        fallbacks.open_counter(fallbacks.TASK_IMAGE, os.environ).fell_back(reason, expected=True)
        return
    listener = command_server.listen(home, TASK_IMAGE)
    if listener is None:
        return
    environment = os.memfd_create("environment")
    os.write(environment, json.dumps(dict(os.environ)).encode("utf-8", "surrogateescape"))
    for descriptor in (listener.fileno(), environment, channel):
        os.set_inheritable(descriptor, True)
    told = {SECOND: f"{listener.fileno()} {environment}"}
    _execute({**parsing.list_open_environment(home / TASK_SETTINGS), **told})


def _start_whole(environment: int, channel: int) -> NoReturn:
    """Become a program that imports everything by itself: one that has no task image."""
    os.set_inheritable(channel, True)
    kept = _read_environment(environment)
    reason = "there is no task image: the image failed with the settings without secrets, and its log says why"
    fallbacks.open_counter(fallbacks.TASK_IMAGE, kept).fell_back(reason)
    _execute({**kept, WHOLE: "1"})


def _execute(environ: Mapping[str, str]) -> NoReturn:
    lifecycle.flush()
    command = [sys.executable, "-P", "-m", __spec__.name if __spec__ else __name__, *sys.argv[1:]]
    os.execve(sys.executable, command, environ)


def _read_environment(file: int) -> dict[str, str]:
    text = os.pread(file, os.fstat(file).st_size, 0)
    found: dict[str, str] = json.loads(text.decode("utf-8", "surrogateescape"))
    return found


def _divide(listener: int, environment: int, channel: int, kinds: Mapping[str, str]) -> None:
    """Import what both images have, and fork the task image. Return in the image, with all settings."""
    for descriptor in (listener, environment, channel):
        os.set_inheritable(descriptor, False)
    iri_grammar.defer()
    fork_server.import_modules((*MODULES, *(entry.partition(":")[0] for entry in kinds.values())))
    heap.prepare_forks()
    huge_pages.join_pages()
    image = os.getpid()
    if os.fork() == 0:
        try:
            lifecycle.die_with(image)
            os.close(environment)
            os.close(channel)
            setproctitle("airfleet task image")
            serve(socket.socket(fileno=listener), kinds)
        except BaseException:
            traceback.print_exc()
        finally:
            lifecycle.flush()
            os._exit(1)
    os.close(listener)
    os.environ.clear()
    os.environ.update(_read_environment(environment))
    from airfleet_provider.compat.calls import settings_switch  # noqa: PLC0415 - Airflow's own configuration comes first
    from airfleet_provider.compat.patches.patch import change_constants  # noqa: PLC0415

    settings_switch.switch(change_constants)
    os.close(environment)


def serve(listener: socket.socket, kinds: Mapping[str, str]) -> NoReturn:
    """Be the task image: fork one process for each request, which receives the request itself. Never return.

    Requests have secrets, such as the environment of a scheduler: no other fork may find them in its memory.
    """
    digest = hashlib.sha256(Path(os.environ["AIRFLOW_CONFIG"]).read_bytes()).hexdigest()
    while True:
        try:
            command_server.accept(listener, (), lambda client: _attend(client, kinds, digest))
        except OSError:  # there is no memory for a fork; the client starts a program of its own
            traceback.print_exc()


def _attend(client: socket.socket, kinds: Mapping[str, str], digest: str) -> int:
    """Receive a request, in a process of its own. Become what it asks for, or say why not.

    Only a client that has received the answer lets the process go on. One that has given up may have started a program
    in its place, and both would read from the same channel.
    """
    lifecycle.hide_memory()  # before it has a secret
    if command_server.user_of(client) != os.geteuid():
        return 1
    client.settimeout(REQUEST_S)
    order, descriptors = image_client.receive(client, DESCRIPTORS)
    if order is None:
        return 1
    if refused := _find_refusal(order, descriptors, kinds, digest):
        client.send(json.dumps({"refused": refused}).encode())
        return 0
    os.setsid()
    session_notes.write(Path(order["env"]["AIRFLOW_HOME"]) / SESSIONS, str(order["env"].get(COMPONENT, "")))
    pidfd = os.pidfd_open(os.getpid())
    socket.send_fds(client, [b"{}"], [pidfd])
    os.close(pidfd)
    client.settimeout(None)
    if client.recv(len(GO)) != GO:
        return 0
    client.close()
    return become(order, descriptors, kinds[order["kind"]])


def _find_refusal(
    order: Mapping[str, Any], descriptors: Sequence[int], kinds: Mapping[str, str], digest: str
) -> str | None:
    if order["kind"] not in kinds or len(descriptors) <= lifecycle.LAST_STANDARD_STREAM:
        return "it does not know this kind"
    if order["settings"] and order["settings"] != digest:
        return "it has read other settings"
    return None


def become(order: Mapping[str, Any], descriptors: Sequence[int], entry: str) -> NoReturn:
    """Be the process that a request describes: streams, environment and paths. Call its function, and exit."""
    code = 1
    try:
        for number, descriptor in enumerate(descriptors[:2], start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.chdir(order["cwd"])
        os.environ.clear()
        os.environ.update(order["env"])
        sys.path[:] = order["path"]
        module, _, function = entry.partition(":")
        getattr(importlib.import_module(module), function)(order["given"], list(descriptors[2:]))
        code = 0
    except SystemExit as stop:
        code = fork_server.exit_code(stop)
    except BaseException:
        traceback.print_exc()
    finally:
        lifecycle.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
