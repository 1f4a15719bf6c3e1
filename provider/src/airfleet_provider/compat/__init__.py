"""The only package that uses private names of Airflow and Celery: `calls` calls them, and `patches` replaces them.

Each module has a test in tests/unit/provider/compat, which fails if Airflow or Celery has changed there.
"""
