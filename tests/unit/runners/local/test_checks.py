"""The message for a Dag file that does not load."""

from __future__ import annotations

import pytest

from airfleet.runners.local.platform_reader import describe_failure

TRACE = """Traceback (most recent call last):
  File "/venv/lib/python3.11/site-packages/airflow/dags/importer.py", line 238, in parse
    loader.exec_module(new_module)
  File "/srv/shop/dags/sales.py", line 3, in <module>
    from include.words import WORD
  File "/srv/shop/include/words.py", line 2, in <module>
    WORD = nope
NameError: name 'nope' is not defined
"""


@pytest.mark.parametrize(
    ("trace", "told"),
    [
        (TRACE, "NameError: name 'nope' is not defined (include/words.py:2)"),
        (
            "dags/x.py: It was still not parsed after 50 s and was stopped.",
            "dags/x.py: It was still not parsed after 50 s and was stopped.",
        ),
        ("  \n", "no message"),
    ],
)
def test_a_failure_is_its_last_line_and_the_line_that_led_to_it(trace: str, told: str) -> None:
    assert describe_failure(trace) == told
