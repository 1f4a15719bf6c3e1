"""The grammar of IRIs is imported when a schema needs it, and not with Airflow's settings."""

from __future__ import annotations

import json
import subprocess
import sys

from deadline import COMMAND_S

PROGRAM = """
import json, sys
from airfleet_provider.processes import iri_grammar
iri_grammar.defer()
import jsonschema
said = {"before": "rfc3987_syntax" in sys.modules}
schema = {"properties": {"a": {"format": "iri"}, "b": {"format": "iri-reference"}}}
check = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
said["good"] = [error.message for error in check.iter_errors({"a": "https://exämple.org/ä", "b": "ä/b"})]
said["bad"] = len(list(check.iter_errors({"a": "no scheme", "b": "<>"})))
said["after"] = "rfc3987_syntax" in sys.modules
import rfc3987_syntax
said["whole"] = hasattr(rfc3987_syntax, "parse")
iri_grammar.defer()
said["kept"] = sys.modules["rfc3987_syntax"] is rfc3987_syntax
print(json.dumps(said))
"""


def test_it_is_imported_at_the_first_iri_and_judges_as_ever() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=COMMAND_S
    )
    assert json.loads(done.stdout) == {
        "before": False,
        "good": [],
        "bad": 2,
        "after": True,
        "whole": True,
        "kept": True,
    }
