"""`python -m airfleet_provider.log_agent`: the log agent, until a signal stops it."""

from __future__ import annotations

import sys

from airfleet_provider.log_agent.process import main

if __name__ == "__main__":
    sys.exit(main())
