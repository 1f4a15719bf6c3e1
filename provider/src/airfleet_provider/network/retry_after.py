"""What a server asks for with the header `Retry-After`."""

from __future__ import annotations

import math
from datetime import datetime
from email.utils import parsedate_to_datetime

LONGEST_RETRY_AFTER_S = 900.0


def read_retry_after(text: str, now: datetime | None = None) -> float:
    """Return the seconds that a `Retry-After` header asks for, LONGEST_RETRY_AFTER_S at most; 0 if it asks nothing."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
            seconds = (moment - (now or datetime.now(moment.tzinfo))).total_seconds()
        except (ValueError, TypeError):
            return 0.0
    return 0.0 if math.isnan(seconds) else min(max(seconds, 0.0), LONGEST_RETRY_AFTER_S)
