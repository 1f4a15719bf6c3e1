#!/bin/sh
# Removes the record of the restore, because everything works on the restored data.
settle
as_server rm -f "$DATA/$MARK"; rm -f "$STATE"
