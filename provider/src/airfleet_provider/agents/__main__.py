"""`python -m airfleet_provider.agents`: the agents process, until a signal stops it."""

from __future__ import annotations

import sys

from airfleet_provider.agents.process import main

if __name__ == "__main__":
    sys.exit(main())
