"""Prints the Python packages beside this Python as JSON, with no package but the standard library."""

import json
import sys
from importlib import metadata

FIELDS = ("License-Expression", "License", "Summary")


def main() -> None:
    """Print a map with the version of Python and the packages."""
    found = {}
    for one in metadata.distributions():
        name = one.metadata["Name"]
        # Of a package that is there twice, Python imports the first.
        if name and name.lower() not in found:
            told = one.metadata.json
            words = {field: str(told.get(field.lower().replace("-", "_")) or "") for field in FIELDS}
            needs = list(one.requires or [])
            found[name.lower()] = {"name": name, "version": one.version, "requires": needs, **words}
    version = ".".join(map(str, sys.version_info[:3]))
    print(json.dumps({"python": version, "packages": [found[name] for name in sorted(found)]}))


if __name__ == "__main__":
    main()
