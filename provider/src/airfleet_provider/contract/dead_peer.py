"""When a connection gives up a host that has lost its power, and so does not even refuse: databases and brokers alike.

A connection attempt fails after CONNECT_S. TCP asks a silent peer after IDLE_S, again every INTERVAL_S, and gives up
after COUNT questions, that is after 11 s. Data that stays unanswered for USER_TIMEOUT_MS ends the connection too.
"""

from __future__ import annotations

CONNECT_S = 3
IDLE_S = 5
INTERVAL_S = 2
COUNT = 3
USER_TIMEOUT_MS = 10_000
