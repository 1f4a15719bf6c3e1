"""Debian machines with systemd and sshd on one box, to test on, to break, and to throw away."""

from machines.bed import Bed
from machines.machine import Machine
from machines.needs import why_not
from machines.system import MachineError

__all__ = ["Bed", "Machine", "MachineError", "why_not"]
