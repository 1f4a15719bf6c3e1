"""The index of log lines: what a line is, where lines are kept, and how they are found again."""
