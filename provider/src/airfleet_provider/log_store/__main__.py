"""`python -m airfleet_provider.log_store`: the log store, until a signal stops it."""

from __future__ import annotations

import sys

from airfleet_provider.log_store.process import main

if __name__ == "__main__":
    sys.exit(main())
