"""The migrations of airfleet's own tables in the metadata database, and what applies them.

A migration is a file `NNNN_name.pre.sql` or `NNNN_name.post.sql` beside this module: plain SQL, whose first comment
says why it is there. No file is ever changed or removed once a version with it was made.
"""
