"""The migrations of airfleet's own tables, and what applies them.

A migration is a file `NNNN_name.pre.sql` or `NNNN_name.post.sql` in the folder of its database: `metadata`, Airflow's
own, or `results`, that of the results of tasks. It is plain SQL, whose first comment says why it is there. No file is
ever changed or removed once a version with it was made.
"""
