"""The numbers of PostgreSQL's advisory locks: each lock of the metadata database has a number of its own."""

from __future__ import annotations

# Held while airfleet's own tables, functions and triggers are made.
SCHEMA_LOCK = 4_707_001
# Held by the one release agent that works, for as long as its connection lives.
AGENT_LOCK = 4_707_002
# Held by the session of the one scheduler agent that may write the lease; the lock ends with that session.
HOLDER_LOCK = 4_707_003
# Held shared while a process stores the archive of a release, and exclusively while a process removes archives.
COLLECT_LOCK = 4_707_004
# Held by the session of the one process that archives or restores runs.
ARCHIVE_LOCK = 4_707_005
# Held by the transaction that makes users and roles as fleet.yaml says.
ACCESS_LOCK = 4_707_006
# Held by the transaction that notes from where a user has logged in.
PLACE_LOCK = 4_707_007
# Held by the transaction in which a platform claims a database that somebody else runs.
CLAIM_LOCK = 4_707_008
# Held by the session of the one process that cares for the database or adds indexes.
CARE_LOCK = 4_707_009
