"""The protocol between the fork server of Airflow's processes and its clients, over Unix sockets.

A component: the client sends a JSON object with two descriptors, its log and the gate at which the forked process
waits. The fork server answers with the name and the process id. A byte on the gate starts the process.

A command: the client connects to COMMANDS in AIRFLOW_HOME and receives GREETING. The client then sends a JSON object
with its three standard streams. The client may send numbers of signals, and receives the exit code.
"""

from __future__ import annotations

import signal

# The fork server has imported everything and takes requests.
WARM = b"warm"
GO = b"g"
COMMANDS = "commands.sock"
GREETING = b"ready"
# The signals that a client may pass on to its command.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGWINCH)
