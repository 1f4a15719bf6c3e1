"""The shell scripts that inject a fault into a host and revert it. Root runs them.

Before a fault that lasts, the script starts a timer of the host's systemd that reverts it. So the host reverts it even
if the machine that runs the drill has gone.
"""

from __future__ import annotations

from dataclasses import dataclass

from airfleet.drills.catalogue import Act, Fault, Target
from airfleet.shell_script import render_script

# The patterns of each component's services.
UNITS: dict[Target, str] = {
    "scheduler": "airfleet-scheduler.service",
    "worker": "airfleet-worker-*.service",
    "api-server": "airfleet-api-server.service airfleet-execution-api.service",
    "balancer": "airfleet-balancer.service",
    "broker": "airfleet-rabbitmq.service",
    "database": "airfleet-postgresql.service",
}
EVERY_UNIT = "airfleet-*.service"
FILLER = "/var/lib/airfleet/drill-filler"
_CLOCK = "/run/airfleet-drill-clock"
_TIMER = "airfleet-drill-back"
SKEW_S = 570  # just below the 10 minutes that tokens of tasks tolerate
GRACE_S = 30.0  # seconds by which the host's timer is later than the drill


@dataclass(frozen=True, slots=True)
class Scripts:
    """The scripts that inject and revert a fault. `revert` is empty if there is nothing to revert."""

    inject: str
    revert: str = ""


def write_scripts(fault: Fault, *, ssh_port: int = 22, grace_s: float = GRACE_S) -> Scripts:
    """Return the scripts of a fault."""
    units = UNITS[fault.component]
    after_s = (fault.lasts_s or 0.0) + grace_s
    match fault.act:
        case "kill":
            return Scripts(_render("find_services", UNITS=units) + 'systemctl kill --signal=KILL "$@"\n')
        case "restart":
            return Scripts(_render("find_services", UNITS=units) + 'systemctl restart "$@"\n')
        case "stop":
            return _lasting(after_s, units, inject='systemctl stop "$@"\n', back=_render("start_services"))
        case "freeze":
            stop, go_on = (f'systemctl kill --signal={signal} "$@"\n' for signal in ("STOP", "CONT"))
            return _lasting(after_s, EVERY_UNIT, inject=stop, back=go_on)
        case "cut off":
            cut = _render("cut_network", SSH_PORT=ssh_port)
            return _lasting(after_s, EVERY_UNIT, inject=cut, back="nft delete table inet airfleet_drill\n")
        case "fill the disk of":
            return _lasting(after_s, EVERY_UNIT, inject=_render("fill_disk", FILLER=FILLER), back=f"rm -f {FILLER}\n")
        case "set ahead the clock of" | "set back the clock of":
            skew_s = find_skew(fault.act)
            return _lasting(
                after_s,
                EVERY_UNIT,
                inject=_render("set_clock", MARK=_CLOCK, SKEW_S=f"{skew_s:+d}"),
                back=_render("set_clock_right", MARK=_CLOCK, SKEW_S=f"{-skew_s:+d}"),
            )
        case "pull the plug of":
            return Scripts(_render("pull_plug"))
        case "roll" | "upgrade" | "drain" | "restore" | "switch over":
            raise ValueError(f"{fault.act} is done by commands, not on a host")


def _lasting(after_s: float, units: str, *, inject: str, back: str) -> Scripts:
    """Return the scripts of a fault that lasts; `inject` and `back` find the services in their arguments."""
    values = {"UNITS": units, "TIMER": _TIMER, "BACK": back}
    arm = _render("find_services", "arm_timer", FILE=f"/run/{_TIMER}", AFTER_S=f"{after_s:g}", **values)
    return Scripts(arm + inject, _render("find_services", "take_back", **values))


def _render(*names: str, **values: object) -> str:
    return render_script(__package__, *names, **values)


def find_skew(act: Act) -> int:
    """By how many seconds a host's clock is ahead once this is done to it."""
    return SKEW_S if act == "set ahead the clock of" else -SKEW_S


def is_lethal(act: Act) -> bool:
    """Return whether the host is down after the fault until it boots again."""
    return act == "pull the plug of"
