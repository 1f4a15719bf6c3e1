#!/bin/sh
# Forgets the restore: everything works on its data.
settle
as_server rm -f "$DATA/$MARK"; rm -f "$STATE"
