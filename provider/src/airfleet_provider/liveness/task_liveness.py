"""Whether a task without heartbeats is dead: it is if it could have reported, or if its host is gone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from airfleet_provider.liveness.heartbeat_grace import HeartbeatGrace
from airfleet_provider.liveness.heartbeat_history import Heartbeat, HeartbeatHistory
from airfleet_provider.liveness.host_probe import HostProbe
from airfleet_provider.liveness.http_probe import HttpProbe

log = logging.getLogger(__name__)

ANSWER_S = 3.0
# A host is lost if it has not answered a connection attempt for HOST_SILENT_S, in which TCP tries four times. Tasks of
# a lost host are dead if they have sent no heartbeat for LOST_S.
HOST_SILENT_S, LOST_S = 9.0, 20.0


@dataclass(slots=True)
class TaskLiveness:
    """Decides for one scheduler which tasks are dead; tasks report to any of the URLs.

    `authorities` is the file of the certificates that APIs with TLS are verified with.
    """

    urls: Sequence[str]
    timeout_s: float
    clock: Callable[[], float] = time.monotonic
    patience: HeartbeatGrace = field(default_factory=HeartbeatGrace)
    silence: HeartbeatHistory = field(default_factory=HeartbeatHistory)
    pulse: HostProbe | None = None
    authorities: str | None = None
    asker: HttpProbe = field(init=False)

    def __post_init__(self) -> None:
        self.asker = HttpProbe(self.urls, ANSWER_S, self.authorities)

    def may_judge(self) -> bool:
        """Check the API now; return whether every task could have reported for the whole time-out."""
        self.patience = self.patience.look(self.clock(), could_report=self.asker.hears())
        return self.patience.is_over(self.clock(), self.timeout_s)

    def judge(self, beats: Mapping[object, Heartbeat]) -> Mapping[float, Collection[object]]:
        """Check the running tasks; return the dead tasks, by the time-out in seconds that they exceeded."""
        may_judge, now = self.may_judge(), self.clock()
        self.silence.look(now, beats)
        dead: dict[float, Collection[object]] = {}
        if may_judge and (silent := self.silence.find(now, self.timeout_s)):
            dead[self.timeout_s] = silent
        lost = self._find_lost({beat.host for beat in beats.values() if beat.host})
        silent = frozenset(task for task in self.silence.find(now, LOST_S) if beats[task].host in lost)
        if gone := silent.difference(*dead.values()):
            log.warning("%s: no answer; tasks there are dead after %g s without a heartbeat", ", ".join(lost), LOST_S)
            dead[LOST_S] = gone
        return dead

    def _find_lost(self, hosts: Collection[str]) -> frozenset[str]:
        """Return the hosts that are lost, and start new connection attempts to all hosts.

        Returns no host unless tasks could report without a break for the last `LOST_S` seconds.
        """
        if self.pulse is None:
            return frozenset()
        self.pulse.feel(hosts)
        if not self.patience.is_over(self.clock(), LOST_S):
            return frozenset()
        return frozenset(host for host in hosts if self.pulse.is_silent(host, HOST_SILENT_S))
