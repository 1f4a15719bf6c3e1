"""Drills: break a fleet on purpose, under load, and read from the tasks' own attempt log what that did to the work.

catalogue     the list of drills, as data
load          the work that runs during a drill, and the attempts that must be found afterwards
attempt_log   parses the lines that the tasks wrote into attempts
analysis      finds lost, doubled and killed attempts, and gaps
outcome       compares the findings with a drill's bar
report        renders outcomes as text; page renders them as one HTML file
project/      the Dag and the writer of the attempt log, which run on the fleet
"""
