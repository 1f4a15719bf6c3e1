"""What Active Directory says of an account beside its password: whether it may be used, and its primary group.

Other directories have none of these attributes, so nothing follows for their users.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_CONTROL, _COMPUTED, _EXPIRES = "userAccountControl", "msDS-User-Account-Control-Computed", "accountExpires"
_SID, _PRIMARY_GROUP = "objectSid", "primaryGroupID"
ATTRIBUTES = (_CONTROL, _COMPUTED, _EXPIRES, _SID, _PRIMARY_GROUP)
_DISABLED, _LOCKED, _PASSWORD_EXPIRED = 0x2, 0x10, 0x800000
# Both mean that an account does not expire. Others count steps of 100 ns since 1601.
_NEVER = (0, 2**63 - 1)
_STEPS_PER_S, _FROM_1601_TO_1970_S = 10**7, 11_644_473_600
# The last part of the id of an account or group, which is the number of the primary group.
_RID_BYTES = 4
# What a refused login says after "data", in the documentation of LDAP bind errors of Active Directory.
_REFUSALS = {
    "530": "it may not log in at this time of day",
    "531": "it may not log in at this machine",
    "532": "its password has expired",
    "533": "it is disabled",
    "701": "it has expired",
    "773": "its password must be changed first",
    "775": "it is locked after failed logins",
}


@dataclass(frozen=True, slots=True)
class AccountObstacle:
    """Why an account cannot be used, and what to do. An obstacle that `ends` it also ends the sessions of the user."""

    what: str
    hint: str
    ends: bool


def find_obstacle(values: Mapping[str, Sequence[bytes]], now: float) -> AccountObstacle | None:
    """Return what keeps the account of an entry from being used at the time `now`.

    An account that is locked after failed logins has its sessions: else whoever guesses could end them.
    """
    expires = _read_number(values, _EXPIRES)
    if expires not in _NEVER and expires / _STEPS_PER_S - _FROM_1601_TO_1970_S <= now:
        return AccountObstacle("the account has expired", "set another date in Active Directory", ends=True)
    if _read_number(values, _CONTROL) & _DISABLED:
        return AccountObstacle("the account is disabled", "enable it in Active Directory", ends=True)
    computed = _read_number(values, _COMPUTED)
    if computed & _LOCKED:
        hint = "unlock it in Active Directory, or wait as long as its policy says"
        return AccountObstacle("the account is locked after failed logins", hint, ends=False)
    if computed & _PASSWORD_EXPIRED:
        hint = "let the user change it in Active Directory; here it cannot be changed"
        return AccountObstacle("the password of the account has expired or must be changed", hint, ends=False)
    return None


def find_primary_group(values: Mapping[str, Sequence[bytes]]) -> bytes | None:
    """Return the id of the primary group, such as Domain Users: no attribute of the group names such a member."""
    sid, number = next(iter(values.get(_SID) or ()), b""), _read_number(values, _PRIMARY_GROUP)
    if len(sid) <= _RID_BYTES or not 0 < number < 2 ** (8 * _RID_BYTES):
        return None
    return bytes(sid[:-_RID_BYTES]) + number.to_bytes(_RID_BYTES, "little")


def explain_refusal(message: str) -> str | None:
    """Return why a login was refused for another reason than a wrong name or password, if the message says so."""
    found = re.search(r"AcceptSecurityContext error, data ([0-9a-f]+)", message)
    return _REFUSALS.get(found[1]) if found else None


def _read_number(values: Mapping[str, Sequence[bytes]], name: str) -> int:
    try:
        # 32 bits with a sign, as AD sends flags.
        return int(next(iter(values.get(name) or ()), b"0"))
    except ValueError:
        return 0
