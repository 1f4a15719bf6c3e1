"""A driver of machines as a user writes it, for tests."""

from __future__ import annotations

# A driver as a user writes it. Its "cloud" is a JSON file.
PROGRAM = """\
import json, pathlib, sys
store = pathlib.Path("cloud.json")
cloud = json.loads(store.read_text()) if store.exists() else []
asked = json.load(sys.stdin)
assert asked["contract"] == 1
mine = [one for one in cloud if one["tags"].get("airfleet-fleet") == asked["fleet"]]
if asked["action"] == "list":
    answer = {"machines": mine}
elif asked["action"] == "create":
    wanted = asked["machine"]
    key = wanted["tags"]["airfleet-key"]
    answer = next((one for one in mine if one["tags"]["airfleet-key"] == key), None)
    if answer is None:
        number = len(cloud) + 1
        answer = {"id": f"vm-{number}", "name": wanted["name"], "address": f"10.0.0.{number}", "tags": wanted["tags"]}
        cloud.append(answer)
else:
    named = [one for one in cloud if one["id"] == asked["id"]]
    if any(one["tags"] != asked["tags"] for one in named):
        sys.exit("this machine has other tags")
    cloud = [one for one in cloud if one not in named]
    answer = {}
store.write_text(json.dumps(cloud))
print(json.dumps(answer))
"""
