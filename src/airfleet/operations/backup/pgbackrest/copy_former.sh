#!/bin/sh
# Copies the former data of an earlier restore. The server's user does it, because the folder belongs to that user.
test -f "$SOURCE/PG_VERSION"
install -d -o postgres -g postgres -m 700 "$DRAFT"
as_server sh -c "$COPY"
