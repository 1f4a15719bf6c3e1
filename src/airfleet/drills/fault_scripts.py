"""How a fault is injected into a host and reverted, as shell scripts for root.

Whatever lasts is armed with a timer of the host's own systemd before it is done, so that it is taken back even when the
machine that runs the drill is gone by then.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from airfleet.drills.catalogue import Act, Fault, Target
from airfleet.shell_script import render_script

# The services of each component, as `apply` names them.
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
_TIMER = "airfleet-drill-back"
SKEW_S = 570  # just within the 10 minutes that tokens of tasks bear
# A database waits for the other one's host, and so its first tries may fail.
_START = " || ".join(
    ("systemctl start $units", *(f"{{ sleep {wait}; systemctl start $units; }}" for wait in (5, 10, 20)))
)
GRACE_S = 30.0  # how much later than the drill itself the host takes a fault back


@dataclass(frozen=True, slots=True)
class Scripts:
    """What is run on the struck host, and later to take it back; nothing is to be taken back where that is empty."""

    inject: str
    revert: str = ""


def write_scripts(fault: Fault, *, ssh_port: int = 22, grace_s: float = GRACE_S) -> Scripts:
    """The scripts of a fault."""
    units = UNITS[fault.component]
    after_s = (fault.lasts_s or 0.0) + grace_s
    match fault.act:
        case "kill":
            return Scripts(_with_units(units, "systemctl kill --signal=KILL $units"))
        case "restart":
            return Scripts(_with_units(units, "systemctl restart $units"))
        case "stop":
            return _lasting(after_s, units, inject="systemctl stop $units", back=_START)
        case "freeze":
            stop, go_on = (f"systemctl kill --signal={signal} $units" for signal in ("STOP", "CONT"))
            return _lasting(after_s, EVERY_UNIT, inject=stop, back=go_on)
        case "cut off":
            cut = render_script(__package__, "cut_network", SSH_PORT=ssh_port)
            return _lasting(after_s, EVERY_UNIT, inject=cut, back="nft delete table inet airfleet_drill")
        case "fill the disk of":
            fill = render_script(__package__, "fill_disk", FILLER=FILLER)
            return _lasting(after_s, EVERY_UNIT, inject=fill, back=f"rm -f {FILLER}")
        case "set ahead the clock of" | "set back the clock of":
            inject, back = _set_clock(find_skew(fault.act))
            return _lasting(after_s, EVERY_UNIT, inject=inject, back=back)
        case "pull the plug of":
            return Scripts(render_script(__package__, "pull_plug"))
        case "roll" | "upgrade" | "drain" | "restore":
            raise ValueError(f"{fault.act} is done by commands, not on a host")


def _lasting(after_s: float, units: str, *, inject: str, back: str) -> Scripts:
    timer = f"--unit={_TIMER} --on-active={after_s:g} --timer-property=AccuracySec=100ms"
    return Scripts(
        inject=_with_units(units, f'systemd-run --quiet --collect {timer} sh -c "{back}"\n{inject}'),
        revert=_with_units(units, f"{back}\nsystemctl stop {_TIMER}.timer 2>/dev/null || true"),
    )


def _with_units(patterns: str, script: str) -> str:
    quoted = " ".join(shlex.quote(one) for one in patterns.split())
    return f"""\
set -eu
units=$(systemctl list-units --all --plain --no-legend --type=service {quoted} | cut -d ' ' -f 1 | tr '\\n' ' ')
[ -n "$units" ] || {{ echo "no such service here: {patterns}" >&2; exit 3; }}
{script}
"""


def find_skew(act: Act) -> int:
    """By how many seconds a host's clock is ahead once this is done to it."""
    return SKEW_S if act == "set ahead the clock of" else -SKEW_S


def _set_clock(skew_s: int) -> tuple[str, str]:
    """Setting it and setting it right; the mark lets whoever comes second set nothing right again."""
    # What keeps the time right would undo it.
    inject = (
        "timedatectl set-ntp false 2>/dev/null || true\n"
        "touch /run/airfleet-drill-clock\n"
        f"date --set='{skew_s:+d} seconds' >/dev/null"
    )
    back = (
        f"rm /run/airfleet-drill-clock 2>/dev/null && date --set='{-skew_s:+d} seconds' >/dev/null; "
        "timedatectl set-ntp true 2>/dev/null || true"
    )
    return inject, back


def is_lethal(act: Act) -> bool:
    """Whether the host is gone afterwards until it boots again."""
    return act == "pull the plug of"
