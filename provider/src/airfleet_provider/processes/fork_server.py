"""The fork server: imports Airflow once, and forks every component from this process.

The supervisor sends one request per datagram over a Unix socket, with two descriptors: the log to write to, and the
gate to wait at. The fork server forks twice, so that the child becomes a child of the supervisor (a subreaper). So the
death of the fork server ends no component. A child runs no command before its gate opens, and exits if the supervisor
dies first.
"""

from __future__ import annotations

import array
import gc
import importlib
import json
import linecache
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from setproctitle import setproctitle

from airfleet_provider.contract.fork_protocol import EARLY, GO, PING, THEN, WARM
from airfleet_provider.contract.text import one_line
from airfleet_provider.processes import command_server, heap, iri_grammar, lifecycle
from airfleet_provider.processes.polling import wait_readable

REQUEST_BYTES = 1 << 20


@dataclass(frozen=True)
class ForkRequest:
    """One child to fork: the modules to import before it waits, and the Airflow command lines to run in turn."""

    name: str
    commands: tuple[tuple[str, ...], ...]
    preload: tuple[str, ...]
    env: dict[str, str]
    supervisor: int


def main(argv: Sequence[str] | None = None) -> None:
    """Import the modules named on the command line, then fork one child per request until the socket closes.

    The last argument is the inherited descriptor of that socket. As soon as the modules before THEN are imported, there
    may be requests.
    """
    *preload, descriptor = sys.argv[1:] if argv is None else argv
    early = preload.index(THEN) if THEN in preload else 0
    setproctitle("airfleet image")  # the first call must come before the environment changes
    channel = socket.socket(fileno=int(descriptor))
    iri_grammar.defer()
    if early:
        import_modules(preload[:early])
        channel.send(EARLY)
    import_modules(preload[early + bool(early) :], lambda: wait_readable([channel], 0) and _serve(channel, [channel]))
    heap.prepare_forks()
    listener = command_server.listen(Path(home)) if (home := os.environ.get("AIRFLOW_HOME")) else None
    channel.send(WARM)
    poll = select.poll()
    for one in filter(None, (channel, listener)):
        poll.register(one, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if listener and listener.fileno() in ready:
            command_server.accept(listener, (channel,), _attend_command)
        if channel.fileno() not in ready:
            continue
        if not _serve(channel, [one for one in (channel, listener) if one]):
            return


def _serve(channel: socket.socket, own: Sequence[socket.socket]) -> bool:
    """Answer the next request, most often with a fork; return whether there was one before the channel's end."""
    message, descriptors = receive(channel)
    if not message:
        return False
    if message == PING:
        channel.send(PING)
        return True
    body = json.loads(message)
    order = ForkRequest(
        name=body["name"],
        commands=tuple(tuple(command) for command in body["commands"]),
        preload=tuple(body["preload"]),
        env=body["env"],
        supervisor=body["supervisor"],
    )
    pid = fork(order, descriptors, own)
    channel.send(json.dumps({"number": body["number"], "pid": pid}).encode())
    return True


def import_modules(names: Sequence[str], after_each: Callable[[], object] = lambda: None) -> None:
    """Import each `module`, and call each `module:function`; a missing name is logged and only costs time later.

    It calls `after_each` module.
    """
    gc.disable()  # imports create many objects and little garbage
    for name in names:
        module, _, function = name.partition(":")
        try:
            imported = importlib.import_module(module)
            if function:
                getattr(imported, function)()
        except (ImportError, AttributeError) as error:
            print(f"airfleet: cannot preload {name}: {one_line(error)}", file=sys.stderr, flush=True)
        after_each()
    linecache.clearcache()  # a fork that clears it itself copies some MiB of source
    gc.enable()


def receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    """Receive one request and its descriptors; the request is empty if the supervisor has gone."""
    descriptors = array.array("i")
    message, ancillary, _, _ = channel.recvmsg(REQUEST_BYTES, socket.CMSG_SPACE(2 * descriptors.itemsize))
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return message, list(descriptors)


def fork(order: ForkRequest, descriptors: list[int], own: Sequence[socket.socket]) -> int:
    """Fork a grandchild that runs the order, and return its pid; the nearest subreaper becomes its parent."""
    read_end, write_end = os.pipe()
    middle = os.fork()
    if middle == 0:
        child = os.fork()
        if child:
            os.write(write_end, str(child).encode())
            os._exit(0)
        for one in own:
            one.close()
        os.close(read_end)
        os.close(write_end)
        run(order, *descriptors)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        pid = int(pipe.read())
    os.waitpid(middle, 0)
    for descriptor in descriptors:
        os.close(descriptor)
    return pid


def run(order: ForkRequest, log: int, gate: int) -> NoReturn:
    """Become the component: own session, own log, own environment; wait at the gate; run the commands; exit."""
    code = 1
    try:
        os.setsid()
        for stream in (1, 2):
            os.dup2(log, stream)
        os.close(log)
        os.environ.update(order.env)
        setproctitle(f"airfleet {order.name}")
        import_modules(order.preload)
        heap.settle()
        if os.read(gate, 1) == GO:
            os.close(gate)
            lifecycle.die_with(order.supervisor, signal.SIGTERM)
            code = run_commands(order.commands)
    except SystemExit as stop:
        code = exit_code(stop)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        lifecycle.flush()
        os._exit(code)


def run_commands(commands: Sequence[Sequence[str]]) -> int:
    """Run Airflow's command lines in turn as its console script would; return the first failure's exit code, or 0."""
    from airflow.__main__ import main as airflow  # noqa: PLC0415 - slow to import, and only children need it

    for command in commands:
        sys.argv = list(command)
        try:
            airflow()
        except SystemExit as stop:
            if code := exit_code(stop):
                return code
    return 0


def _attend_command(client: socket.socket) -> int:
    return command_server.attend(client, lambda argv: run_commands([argv]))


def exit_code(stop: SystemExit) -> int:
    """Return the exit code that Python would use for this SystemExit; print a message as Python would."""
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    print(stop.code, file=sys.stderr)
    return 1


if __name__ == "__main__":
    main()
