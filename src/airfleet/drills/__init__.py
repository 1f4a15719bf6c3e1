"""Drills: break a fleet on purpose, under load, and read from a ledger of side effects what that did to the work.

catalogue   what can be drilled, in plain words, as data
load        the work that runs meanwhile, and which attempts of it must be found afterwards
ledger      what the tasks wrote down themselves: lines in, attempts out
analysis    attempts in; lost, doubled, killed, gaps out
outcome     findings against a drill's bar
report      outcomes as text and as JSON; page: as one HTML file
project/    the Dag and the ledger's writer, which run on the fleet
"""
