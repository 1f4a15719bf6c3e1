"""What both halves of airfleet write and read: archives, tables, states, directives, counts.

The control side imports this package and no other of the provider. It needs the standard library only, and fsspec where
releases are kept in an object store.
"""
