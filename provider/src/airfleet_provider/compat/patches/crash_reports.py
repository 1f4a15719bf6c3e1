"""A process whose native code crashes ends at once, and its log says where. Airflow's would crash without end."""

from __future__ import annotations

import faulthandler
import functools
import re
import signal
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Contains

STDERR = 2
# The signals that the kernel or the C library sends to a process that crashed.
CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)
# faulthandler's first line for the thread that crashed, and a line of its stack. The innermost function comes first.
CURRENT = re.compile(rb"Current thread 0x[0-9a-f]+.*\(most recent call first\):")
FRAME = re.compile(rb'  File "(?P<file>.*)", line (?P<line>\d+) in (?P<function>.*)')


def end_on_crash() -> None:
    """Let this process and its forks write their Python stack to stderr and end when they crash.

    When Airflow loads a Dag file, it installs a Python handler of SIGSEGV, which then stays. A Python handler runs only
    when the crashing instruction returns, which it never does. So the process would use a core until it is killed.
    """
    apply(SIGNALS)
    # If PYTHONFAULTHANDLER enabled faulthandler already, `enable` would not install the handler again.
    faulthandler.disable()
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    faulthandler.enable(STDERR)


class SafeSignals:
    """The module `signal`, except that `signal.signal` ignores the signals of a crash."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the module has
        return getattr(signal, name)

    def signal(self, number: int, handler: Any) -> Any:  # noqa: ANN401 - as the module's own
        return signal.getsignal(number) if number in CRASHES else signal.signal(number, handler)


@dataclass(slots=True)
class Stack:
    """Finds in the lines of a process's stderr the function in which it crashed."""

    is_near: bool = False
    place: str = ""

    def hear(self, line: bytes) -> None:
        """Record the first line below the head of the thread that crashed, and no other."""
        if self.is_near:
            found = FRAME.match(line)
            # The name of the file comes from the task. So only its last part is shown, on one line.
            self.place = "{function} ({file}:{line})".format(**_read(found)) if found else "native code"
        self.is_near = bool(CURRENT.match(line))


def _read(found: re.Match[bytes]) -> dict[str, str]:
    words = {name: value.decode("utf-8", "replace") for name, value in found.groupdict().items()}
    return {name: "".join(one if one.isprintable() else "?" for one in value)[-200:] for name, value in words.items()}


@dataclass(slots=True)
class Stacks:
    """The crashes of a supervisor's children, by pid."""

    known: dict[int, Stack] = field(default_factory=dict)
    listening: Stack | None = None

    def follow(self, forward: Callable[..., Any], *loggers: Any, **options: Any) -> Any:  # noqa: ANN401 - Airflow's own
        """Return a forwarder of lines to a log, which passes them to the current stack first."""
        inner, stack = forward(*loggers, **options), self.listening
        return inner if stack is None else _pass_on(inner, stack)


def _pass_on(inner: Any, stack: Stack) -> Generator[None, bytes | bytearray, None]:  # noqa: ANN401 - Airflow's own
    next(inner)
    while True:
        line = yield
        stack.hear(bytes(line))
        inner.send(line)


def tell_crashes() -> None:
    """Let Airflow's supervisors in this process log by which signal and in which function a task crashed."""
    apply(REPORTS)


def _make_reports(create: Any, forward: Any, settle: Any) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    stacks = Stacks()

    @functools.wraps(create)
    def create_forwarder(self: Any, loggers: Any, name: str, **options: Any) -> Any:  # noqa: ANN401 - Airflow's own
        if name == "task.stderr":
            stacks.listening = stacks.known[self.pid] = Stack()
        try:
            return create(self, loggers, name, **options)
        finally:
            stacks.listening = None

    # By now, all output of the task has been read.
    @functools.wraps(settle)
    def update_state(self: Any) -> Any:  # noqa: ANN401 - Airflow's own
        stack = stacks.known.pop(self.pid, Stack())
        if -(self._exit_code or 0) in CRASHES:
            name = signal.Signals(-self._exit_code).name
            self.process_log.critical(f"Killed by {name} in {stack.place or 'native code'}", signal_name=name)
        return settle(self)

    return create_forwarder, functools.partial(stacks.follow, forward), update_state


_IMPORTER = "airflow.dag_processing.importers.python_importer"
_SUPERVISOR = "airflow.sdk.execution_time.supervisor"
_WATCHED = f"{_SUPERVISOR}:WatchedSubprocess"
_ACTIVITY = f"{_SUPERVISOR}:ActivitySubprocess"

SIGNALS = Patch(
    name="crash-signals",
    targets=(f"{_IMPORTER}:signal",),
    requires=(Contains(_IMPORTER, ("import signal\n", "signal.signal(signal.SIGSEGV, ")),),
    make=lambda _: (SafeSignals(),),
    without="a process that crashes after it has loaded a Dag file uses a core until it is killed",
    processes="Celery workers, workers of the LocalExecutor, zygotes, the Dag processor, the release agent",
)
REPORTS = Patch(
    name="crash-reports",
    targets=(
        f"{_WATCHED}._create_log_forwarder",
        f"{_SUPERVISOR}:forward_to_log",
        f"{_ACTIVITY}.update_task_state_if_needed",
    ),
    requires=(
        Accepts(f"{_WATCHED}._create_log_forwarder", ("self", "loggers", "name"), ("data", "log_level")),
        Accepts(f"{_ACTIVITY}.update_task_state_if_needed", ("self",)),
        Contains(f"{_WATCHED}._create_log_forwarder", ("forward_to_log(",)),
        Contains(f"{_WATCHED}._register_pipe_readers", ('"task.stderr"',)),
        Contains(f"{_ACTIVITY}.wait", ("_monitor_subprocess()", "self.update_task_state_if_needed()")),
    ),
    make=_make_reports,
    without="the log of a task that crashed does not say by which signal and in which function",
    processes="Celery workers, workers of the LocalExecutor",
)
