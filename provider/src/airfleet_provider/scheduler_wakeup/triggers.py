"""The triggers by which the metadata database notifies the scheduler that there is something to do."""

from __future__ import annotations

from airfleet_provider.contract.statements import Statements

CHANNEL = "airfleet_scheduler"

# Increase this number whenever the SQL changes. The comment of the installed function has its number.
REVISION = "2"

SQL = Statements(__package__, "triggers")
