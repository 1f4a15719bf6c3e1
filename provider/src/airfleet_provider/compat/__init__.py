"""The only package that touches what Airflow and Celery keep to themselves: `calls` uses it, `patches` changes it.

Each module of it has a test in tests/unit/provider/compat, which fails when Airflow or Celery has changed there.
"""
