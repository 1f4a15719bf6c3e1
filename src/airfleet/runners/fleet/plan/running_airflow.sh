#!/bin/sh
# Defines list_running, which prints the name of every folder of packages that a process of this host was started from.
# It looks at what a process has loaded too: a task's process has another command line, which names the task.
# The brackets keep this command itself from being such a process.
list_running() {
  cat /proc/[0-9]*/cmdline /proc/[0-9]*/maps 2>/dev/null | tr '\0' '\n' |
    grep -aoE "[/]${OPT#/}/[0-9a-z]+/" | sed 's|.*/\([^/]*\)/$|\1|' | sort -u
}
