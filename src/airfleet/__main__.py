"""`python -m airfleet` is the `airfleet` command."""

from airfleet.cli.main import main

main()
