"""The log store of a fleet: a process on hosts of the role logs that keeps the lines of all hosts."""
