#!/bin/sh
# Copies what an earlier restore kept aside; the server's user does it, as the folder is that user's.
test -f "$SOURCE/PG_VERSION"
install -d -o postgres -g postgres -m 700 "$DRAFT"
as_server sh -c "$COPY"
