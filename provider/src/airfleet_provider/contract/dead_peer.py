"""When connections to databases and brokers give up a host that has lost its power, and so sends nothing.

A connection attempt fails after CONNECT_S. TCP probes a silent peer after IDLE_S and then every INTERVAL_S. It gives up
after COUNT probes, that is after 11 s. Data that stays unacknowledged for USER_TIMEOUT_MS ends the connection too.
"""

from __future__ import annotations

CONNECT_S = 3
IDLE_S = 5
INTERVAL_S = 2
COUNT = 3
USER_TIMEOUT_MS = 10_000
