"""The list of drills: for each the fault, the promise, and the time that it may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Act = Literal[
    "kill",
    "stop",
    "restart",
    "freeze",
    "cut off",
    "pull the plug of",
    "fill the disk of",
    "set ahead the clock of",
    "set back the clock of",
    "roll",
    "upgrade",
    "drain",
    "restore",
    "switch over",
]
Target = Literal["scheduler", "worker", "api-server", "balancer", "broker", "database"]
Which = Literal["the active", "one", "every"]
Measure = Literal["longest gap", "run again", "first start"]

MEASURES: dict[Measure, str] = {
    "longest gap": "longest time between two task starts",
    "run again": "until all interrupted tasks had started again",
    "first start": "from recovery to the first task start",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, injected `at_s` seconds into the load. A fault that lasts is reverted after `lasts_s` seconds."""

    act: Act
    which: Which
    component: Target
    at_s: float = 60.0
    lasts_s: float | None = None

    def __str__(self) -> str:
        lasts = f" for {_duration(self.lasts_s)}" if self.lasts_s else ""
        return f"{self.act} {self.which} {self.component}{lasts}"


@dataclass(frozen=True, slots=True)
class Drill:
    """One named drill."""

    name: str
    title: str
    done: str
    promised: str
    fault: Fault
    measure: Measure
    bar_s: float | None
    aim_s: float | None
    after_s: float = 90.0
    may_kill: bool = False
    # The least number of hosts with the component. With fewer, it would be another drill.
    least_hosts: int = 1
    # airfleet's commands that an operator runs: during the fault, and after it was reverted.
    then: tuple[tuple[str, ...], ...] = ()
    at_last: tuple[tuple[str, ...], ...] = ()

    @property
    def length_s(self) -> int:
        """Return the seconds for which the load runs."""
        return round(self.fault.at_s + (self.fault.lasts_s or 0.0) + self.after_s)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"


def _restart(component: Target, title: str) -> Drill:
    return Drill(
        name=f"restart-{component}",
        title=title,
        done=f"The {component} is restarted, as after a change of its configuration.",
        promised="Nothing is lost, done twice or killed; tasks start again as soon as it is up.",
        fault=Fault("restart", "one", component),
        measure="first start",
        bar_s=15.0,
        aim_s=5.0,
    )


def _outage(component: Target, name: str, title: str, done: str) -> Drill:
    return Drill(
        name=name,
        title=title,
        done=done,
        promised="Work waits: running tasks continue, nothing is lost, done twice or killed.",
        fault=Fault("stop", "every", component, lasts_s=600.0),
        measure="first start",
        bar_s=None,
        aim_s=None,
        after_s=180.0,
    )


def _clock(component: Target, direction: Literal["ahead", "back"], title: str) -> Drill:
    """Return a drill of a wrong clock. It lasts two minutes longer than a task may be silent, plus the restarts."""
    act: Act = "set ahead the clock of" if direction == "ahead" else "set back the clock of"
    return Drill(
        name=f"clock-{component}" if direction == "ahead" else f"clock-{component}-{direction}",
        title=title,
        done=f"The clock of one {component} host is set {direction} by 10 minutes, and corrected after 4 minutes.",
        promised="`airfleet status` reports it; nothing is lost, done twice or killed.",
        fault=Fault(act, "the active" if component == "scheduler" else "one", component, lasts_s=240.0),
        measure="first start",
        bar_s=None,
        aim_s=None,
    )


def _operate(fault: Fault, *, name: str, title: str, done: str, after_s: float = 420.0) -> Drill:
    return Drill(
        name=name,
        title=title,
        done=done,
        promised="No task is killed, none is lost or done twice, and no request to the UI fails.",
        fault=fault,
        measure="longest gap",
        bar_s=None,
        aim_s=None,
        after_s=after_s,
    )


_DRILLS = (
    Drill(
        name="kill-scheduler",
        title="The active scheduler dies",
        done="The process of the active scheduler is killed, without a shutdown.",
        promised="The standby becomes active within seconds; running tasks continue.",
        fault=Fault("kill", "the active", "scheduler"),
        measure="longest gap",
        bar_s=5.0,
        aim_s=2.0,
    ),
    Drill(
        name="freeze-scheduler",
        title="The active scheduler's host hangs",
        done="Every process of its host stops, and continues after 45 s.",
        promised="The standby becomes active; the former scheduler has lost its lease and schedules nothing.",
        fault=Fault("freeze", "the active", "scheduler", lasts_s=45.0),
        measure="longest gap",
        bar_s=15.0,
        aim_s=8.0,
    ),
    Drill(
        name="partition-scheduler",
        title="The active scheduler's host is cut off",
        done="Its network is cut for 45 s, while its processes continue to run.",
        promised="The standby becomes active; two schedulers are never active at once.",
        fault=Fault("cut off", "the active", "scheduler", lasts_s=45.0),
        measure="longest gap",
        bar_s=15.0,
        aim_s=8.0,
    ),
    Drill(
        name="plug-pulled",
        title="A worker host loses power",
        done="A worker host loses power while it runs tasks.",
        promised="Its tasks run again on other hosts; no other task is affected.",
        fault=Fault("pull the plug of", "one", "worker"),
        measure="run again",
        bar_s=60.0,
        aim_s=30.0,
        after_s=420.0,
        may_kill=True,
    ),
    Drill(
        name="kill-api-server",
        title="An api-server dies",
        done="One api-server's processes are killed.",
        promised="The balancer sends requests to the others; nothing is lost, done twice or killed.",
        fault=Fault("kill", "one", "api-server"),
        measure="first start",
        bar_s=15.0,
        aim_s=5.0,
    ),
    _restart("balancer", "The balancer restarts"),
    _restart("broker", "The broker restarts"),
    _restart("database", "The database restarts"),
    _outage(
        "api-server", "api-outage", "Ten minutes without any api-server", "Every api-server is stopped for 10 minutes."
    ),
    _outage("broker", "broker-outage", "Ten minutes without broker", "The broker is stopped for 10 minutes."),
    _outage(
        "database",
        "database-outage",
        "Ten minutes without database",
        "The metadata database is stopped for 10 minutes.",
    ),
    Drill(
        name="disk-full",
        title="A worker's disk is full",
        done="The disk of one worker host is filled, and freed after 2 minutes.",
        promised="An alert fires; nothing is lost and nothing is done twice.",
        fault=Fault("fill the disk of", "one", "worker", lasts_s=120.0),
        measure="first start",
        bar_s=None,
        aim_s=None,
        may_kill=True,
    ),
    _clock("worker", "ahead", "A worker host's clock is ahead"),
    _clock("worker", "back", "A worker host's clock is behind"),
    _clock("scheduler", "ahead", "The scheduler's clock is ahead"),
    _clock("scheduler", "back", "The scheduler's clock is behind"),
    _clock("database", "ahead", "The database's clock is ahead"),
    _clock("database", "back", "The database's clock is behind"),
    Drill(
        name="database-lost",
        title="The database's host loses power",
        done="The primary loses power, and nobody does anything.",
        promised="A replica is promoted and tasks continue; with `replication: synchronous` no confirmed data is lost.",
        fault=Fault("pull the plug of", "one", "database"),
        measure="longest gap",
        bar_s=40.0,
        aim_s=20.0,
        after_s=240.0,
        may_kill=True,
    ),
    Drill(
        name="database-switchover",
        title="The database switches over on purpose",
        done="`airfleet failover --database` makes a replica the primary, as before work on the primary's host.",
        promised="Tasks start again within seconds; nothing is lost, done twice or killed.",
        fault=Fault("switch over", "one", "database"),
        measure="longest gap",
        bar_s=5.0,
        aim_s=2.0,
        least_hosts=2,
    ),
    Drill(
        name="broker-lost",
        title="One of three brokers loses power",
        done="A broker's host loses power, with the connections of the workers and the scheduler that used it.",
        promised="They use another broker within seconds; nothing is lost, and no running task is killed.",
        fault=Fault("pull the plug of", "one", "broker"),
        measure="longest gap",
        bar_s=20.0,
        aim_s=10.0,
        after_s=120.0,
        least_hosts=3,
    ),
    Drill(
        name="failover-twice",
        title="Scheduler and database fail over at once",
        done="The active scheduler is killed, and at the same time `airfleet failover --database` switches over.",
        promised="The standby becomes active on the new primary and sends tasks to the broker; running tasks continue.",
        fault=Fault("kill", "the active", "scheduler"),
        measure="longest gap",
        bar_s=60.0,
        aim_s=20.0,
        after_s=240.0,
        then=(("failover", "--database"),),
    ),
    Drill(
        name="restore",
        title="The databases are restored from their backup",
        done="`airfleet db restore --to latest` restores the databases from the last backup and every change since.",
        promised="Tasks wait and then continue; nothing is lost, done twice or killed.",
        fault=Fault("restore", "one", "database"),
        measure="longest gap",
        bar_s=None,
        aim_s=None,
        after_s=300.0,
    ),
    _operate(
        Fault("roll", "every", "worker"),
        name="rolling-apply",
        title="An apply restarts everything",
        done="`airfleet apply --restart` restarts every process of Airflow, host by host, as after an upgrade.",
    ),
    _operate(
        Fault("upgrade", "every", "worker"),
        name="upgrade",
        title="Airflow moves to another version and back",
        done="`airfleet upgrade --back` moves the fleet to the version before, `airfleet upgrade` to the newest again.",
        after_s=900.0,
    ),
    _operate(
        Fault("drain", "every", "worker"),
        name="drain-each-worker",
        title="Each worker is drained and resumed",
        done="One worker host after another takes no new task until its tasks have ended, and then serves again.",
    ),
)
CATALOGUE = {drill.name: drill for drill in _DRILLS}
