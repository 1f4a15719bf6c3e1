"""Events of OpenLineage and spans of a task's own code: files that tasks write, and that supervisors hand over."""
