#!/bin/sh
du -sb "$DATA" | cut -f 1; df -B1 --output=avail "$LIB" | tail -n 1
if [ -f "$DATA/standby.signal" ]; then echo replica; else echo primary; fi
if systemctl is-active -q airfleet-postgresql; then echo up; else echo down; fi
runuser -u postgres -- cat "$DATA/$MARK" 2>/dev/null || printf -; echo; cat "$STATE" 2>/dev/null
cd "$LIB" && ls -d "$FORMER"* 2>/dev/null; true
