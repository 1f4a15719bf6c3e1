"""Why a row is refused, in words, in the order in which the rules are tried."""

from __future__ import annotations

EARLIEST, LATEST = -30, 24 * 60  # minutes
SLOWEST, FASTEST = 70, 600  # mph

REASONS: dict[str, str] = {
    "unreadable": "a number or a time cannot be read",
    "missing_value": "a mandatory field is empty",
    "wrong_month": "the flight is not of the month of its file",
    "unknown_origin": "it does not leave from EWR, JFK or LGA",
    "unknown_carrier": "the airlines file lacks its carrier",
    "unknown_destination": "the airports file lacks its destination",
    "same_airport": "it goes where it comes from",
    "duplicate_flight": "the same flight stands earlier in the file",
    "missing_registration": "it flew, but no aircraft is named",
    "foreign_registration": "its aircraft is not registered in the United States",
    "arrival_without_delay": "it arrived, but its delay or its air time is missing",
    "clock_mismatch": "its times and its delay contradict each other",
    "implausible_delay": f"it left more than {-EARLIEST} minutes early or {LATEST // 60} hours late",
    "implausible_speed": f"in the air it made less than {SLOWEST} or more than {FASTEST} mph",
    "aircraft_elsewhere": "its aircraft was still in the air on an earlier flight",
}
