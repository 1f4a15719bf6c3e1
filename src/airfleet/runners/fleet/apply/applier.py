"""Carry out the steps of a plan, by stage and on several hosts at once. A failure stops only the steps that need it."""

from __future__ import annotations

import itertools
import shlex
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from airfleet.components.host_model import Stage
from airfleet.components.postgresql import patroni
from airfleet.components.postgresql import server as postgresql
from airfleet.errors import AirfleetError
from airfleet.runners.fleet.apply.rolling_restart import Rolling
from airfleet.runners.fleet.plan import steps
from airfleet.runners.fleet.plan.steps import Bring, Install, RunJob, Step, Unpack
from airfleet.runners.fleet.plan.waves import is_restart, make_waves
from airfleet.runners.fleet.survey.host_survey import HostView
from airfleet.runners.fleet.transport import detached_script
from airfleet.runners.fleet.transport.connection import as_host_error
from airfleet.shell_script import define_function, render_script

# The stages that all other stages need. A few hosts carry them out before the rest.
FOUNDATION = tuple(stage for stage in Stage if stage <= Stage.METADATA)


@dataclass(frozen=True, slots=True)
class StepResult:
    """The result of one step. `drains` means that a worker still has to finish its tasks."""

    step: Step
    seconds: float
    error: AirfleetError | None = None
    drains: bool = False


@dataclass(frozen=True, slots=True)
class ApplyOutcome:
    """The result of a plan."""

    done: tuple[StepResult, ...]
    errors: tuple[AirfleetError, ...]
    skipped: tuple[Step, ...]


class Applier:
    """Runs the steps of all hosts. Each step writes a line to the host's audit log."""

    def __init__(
        self,
        views: Iterable[HostView],
        *,
        who: str,
        archives: Mapping[str, Path],
        clock: Callable[[], float],
        notify: Callable[[StepResult], None],
        lost: threading.Event,
        absent: Iterable[str] = (),
        rolling: Rolling | None = None,
    ) -> None:
        """`absent` are hosts of the fleet that cannot be changed now. `lost` is set when the lease is lost."""
        self._views = tuple(views)
        self._absent = frozenset(absent)
        self._who = who
        self._archives = archives
        self._clock = clock
        self._notify = notify
        self._lost = lost
        self._rolling = rolling
        self._results: list[StepResult] = []
        self._failed: dict[str, AirfleetError] = {}
        self._lock = threading.Lock()

    def run(self) -> ApplyOutcome:
        """Carry out every step that is possible. A host whose step fails gets no further steps."""
        self.lay_foundation()
        self.start_services()
        return self.outcome()

    def lay_foundation(self) -> None:
        """Carry out the stages that all other stages need."""
        # The other hosts unpack meanwhile, because the stores and the schema mostly wait.
        pillars = [view for view in self._views if _is_pillar(view)]
        others = [view for view in self._views if not _is_pillar(view)]
        with ThreadPoolExecutor(2) as lanes:
            list(lanes.map(lambda views: self._go_through(FOUNDATION, views), (pillars, others)))

    def start_services(self) -> None:
        """Carry out the stages after the foundation."""
        self._go_through([stage for stage in Stage if stage not in FOUNDATION], self._views)

    def outcome(self) -> ApplyOutcome:
        """Return the results of all steps so far."""
        done = {id(result.step) for result in self._results}
        planned = [step for view in self._views for step in view.steps]
        skipped = [step for step in planned if id(step) not in done]
        return ApplyOutcome(tuple(self._results), tuple(self._failed.values()), tuple(skipped))

    def _go_through(self, stages: Iterable[Stage], views: Iterable[HostView]) -> None:
        for stage in stages:
            work = [
                (view, own)
                for view in views
                if (own := [step for step in view.steps if step.stage == stage]) and not self._waits(view, stage)
            ]
            self._run_stage(stage, work)

    def _run_stage(self, stage: Stage, work: list[tuple[HostView, list[Step]]]) -> None:
        """Change the hosts wave by wave. If a host does not come back, the next apply makes the rest of the steps."""
        rolling = self._rolling if any(is_restart(step) for _, own in work for step in own) else None
        active = rolling.find_active() if rolling and stage == Stage.CONTROL else ""
        together = rolling is not None and stage == Stage.STORES and rolling.must_go_together(work)
        waves = make_waves(stage, work, active, together=together)
        for wave in waves:
            roll = partial(self._roll, stage, rolling, is_last=wave is waves[-1])
            with ThreadPoolExecutor(max(1, len(wave))) as pool:
                came_back = list(pool.map(lambda item, roll=roll: roll(*item), wave))
            if not all(came_back):
                return

    def _roll(self, stage: Stage, rolling: Rolling | None, view: HostView, own: list[Step], *, is_last: bool) -> bool:
        """Change one host. Return False if the hosts that serve the same should not be changed now."""
        if rolling is None:
            self._host(view, own)
            return True
        name = view.desired.place.host.name
        try:
            before = rolling.prepare(view, own, stage)
            self._host(view, own)
            return name not in self._failed and rolling.finish(view, own, stage, before, is_last=is_last)
        except Exception as error:  # a lost connection, or an unexpected error: it concerns this host only
            with self._lock:
                self._failed[name] = as_host_error(error, name)
            return False

    def _waits(self, view: HostView, stage: Stage) -> bool:
        """Return whether a host must wait: it failed, or a host failed that everything after this stage needs."""
        if self._lost.is_set() or view.desired.place.host.name in self._failed:
            return True
        fleet = view.desired.place.fleet
        bad = self._failed.keys() | self._absent
        scheduler = fleet.with_role("scheduler")[0].name
        database_failed = stage > Stage.STORES and not fleet.database and fleet.primary.name in bad
        brokers = {host.name for host in fleet.with_role("broker")}
        no_broker_left = stage > Stage.METADATA and bool(brokers) and brokers <= bad
        no_schema = stage > Stage.METADATA and (
            (scheduler in self._failed and self._metadata_failed()) or (scheduler in self._absent and self._is_new())
        )
        return database_failed or no_broker_left or no_schema

    def _is_new(self) -> bool:
        """Return whether this plan creates the database."""
        jobs = (s.action.job for view in self._views for s in view.steps if isinstance(s.action, RunJob))
        return any(job.name in (postgresql.CREATE, patroni.ADOPT) for job in jobs)

    def _metadata_failed(self) -> bool:
        return any(result.error is not None and result.step.stage <= Stage.METADATA for result in self._results)

    def _host(self, view: HostView, own: list[Step]) -> None:
        for batch in _batches(own):
            if self._lost.is_set():
                return
            begun = self._clock()
            error: AirfleetError | None = None
            drains = False
            try:
                drains = steps.DRAINING in self._do(view, batch).splitlines()
            except Exception as caught:  # an unexpected error of one host must not end the work on others
                error = as_host_error(caught, view.desired.place.host.name)
            seconds = self._clock() - begun
            # The services of one batch start in parallel, small steps run one after another.
            share = seconds if isinstance(batch[0].action, Bring) else seconds / len(batch)
            with self._lock:
                if error is not None:
                    self._failed[view.desired.place.host.name] = error
                for step in batch:
                    result = StepResult(step, share, error, drains)
                    self._results.append(result)
                    self._notify(result)
            if error is not None:
                return

    def _do(self, view: HostView, batch: list[Step]) -> str:
        action = batch[0].action
        script = detached_script.wrap(build_script(batch, self._who))
        timeout_s = max(step.timeout_s for step in batch) + detached_script.WAIT_S
        what = ", ".join(step.what for step in batch) if isinstance(action, Bring) else batch[0].what
        archive = action.digest if isinstance(action, Unpack) else action.archive if isinstance(action, Install) else ""
        if archive:
            with self._archives[archive].open("rb") as data:
                return view.connection.check(script, timeout_s=timeout_s, data=data, what=what).strip()
        return view.connection.check(script, timeout_s=timeout_s, what=what).strip()


def _is_pillar(view: HostView) -> bool:
    """Return whether a host has a store, has etcd, or migrates the schema."""
    place = view.desired.place
    if place.host in place.fleet.voters:
        return True
    makes_schema = place.host.name == place.fleet.with_role("scheduler")[0].name
    return makes_schema or bool({"database", "broker"} & set(place.host.roles))


def _batches(own: list[Step]) -> Iterator[list[Step]]:
    """Yield batches: consecutive small steps together, consecutive services together, every other step alone."""
    for kind, group in itertools.groupby(own, key=_kind):
        if kind == "alone":
            yield from ([step] for step in group)
        else:
            yield list(group)


def _kind(step: Step) -> str:
    if isinstance(step.action, Bring):
        return "service"
    return "small" if step.is_small else "alone"


def build_script(batch: Sequence[Step], who: str) -> str:
    """Return a script that runs the steps, and writes the result of each and `who` started it to the host's audit log.

    Steps run one after another until one fails. Services start in parallel, because each mostly waits; the script waits
    for all of them, even after a failure.
    """
    is_side_by_side = isinstance(batch[0].action, Bring)
    run = "run_beside" if is_side_by_side else "run"
    names = [f"step_{number}" for number in range(len(batch))]
    functions = [define_function(name, steps.script(step.action)) for name, step in zip(names, batch, strict=True)]
    calls = [
        f"{run} {name} {shlex.quote(f'{step.what} ({step.why})')}\n" for name, step in zip(names, batch, strict=True)
    ]
    end = "wait_for_all\n" if is_side_by_side else ""
    return "".join([render_script(__package__, "audit", WHO=who), *functions, *calls, end])
