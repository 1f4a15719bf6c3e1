"""Send one command to sockets of HAProxy, and print the answers. The Python of a host's system runs this text."""

from __future__ import annotations

import socket
import sys


def main(command: str, *paths: str) -> None:
    """Send `command` to the socket at each path, and print the answers.

    Raises:
        OSError: No process listens on a socket, or it does not answer within 5 s.
    """
    for path in paths:
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(5)
            one.connect(path)
            one.sendall(command.encode() + b"\n")
            while data := one.recv(65536):
                sys.stdout.buffer.write(data)


if __name__ == "__main__":
    main(*sys.argv[1:])
