"""The protocol between the fork server of Airflow's processes and its clients, over Unix sockets.

A component: the client sends a JSON object with two descriptors, its log and the gate at which the forked process
waits. The fork server answers with the number of the request and the process id. A byte on the gate starts the process.

PING from the client, once the fork server is warm, is answered with PING: so one that hangs is known.

A command: the client connects to COMMANDS in AIRFLOW_HOME and receives GREETING. The client then sends a JSON object
with its three standard streams. The client may send numbers of signals, and receives the exit code.

A zygote pool or a parser: the client connects to TASK_IMAGE in AIRFLOW_HOME and sends a JSON object with descriptors.
A fork of the task image receives them, and answers with a descriptor of itself. It waits for GO. It is in a session of
its own. A file SESSIONS/COMPONENT/PID in AIRFLOW_HOME says for which component of the platform it works, and so with
which it ends.
"""

from __future__ import annotations

import signal

# The fork server has imported what the first processes need, and takes requests between other imports.
EARLY = b"early"
# The fork server has imported everything and takes requests.
WARM = b"warm"
# In the list of modules: what stands before it is imported first.
THEN = "+"
GO = b"g"
PING = b"ping"
COMMANDS = "commands.sock"
TASK_IMAGE = "task-image.sock"
# The settings of the platform without its secrets, which the task image and its forks have.
TASK_SETTINGS = ".task-image.cfg"
SESSIONS = "sessions"
GREETING = b"ready"
# The signals that a client may pass on to its command.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGWINCH)
