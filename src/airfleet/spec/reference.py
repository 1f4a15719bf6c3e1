"""Texts that are generated from the model: the JSON Schema, the commented fleet.yaml, and words for error messages."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import yaml

from airfleet.spec import model, yaml_document

Node = dict[str, Any]

_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a map",
}
_HEAD = """\
# A line that starts with `#` and a space explains the key below it.
# A line that starts with `#` alone is an example. To use it, remove its `#` and the `#` of the keys that enclose it.
"""


@functools.cache
def schema() -> Node:
    """Return the JSON Schema of fleet.yaml. It allows the known keys and keys that start with `x-`, and no others.

    All callers share the result, as pydantic takes 40 ms of CPU to make it; no caller changes it.
    """
    root = model.FleetFile.model_json_schema()
    _mend(root)
    root["patternProperties"] = {"^x-": {}}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root}


def reference() -> str:
    """Return a commented fleet.yaml with every key. `load.parse` turns this text into a fleet of defaults."""
    root = schema()
    source = root["$defs"]["Reference"]
    lines = [f"# {root['description']}", *_HEAD.splitlines(), "#", f"# {source['description']}"]
    for key, node in source["properties"].items():
        lines.append(f"#   {{{key}: {_inline(node['examples'][0])}}}: {node['description']}")
    for key, node in root["properties"].items():
        lines += ["", *_entry(root, key, node, indent="", active=True)]
    return "\n".join(lines) + "\n"


def find(root: Node, path: yaml_document.Path) -> Node:
    """Return the schema at a path, or an empty schema if the path has none."""
    node = root
    for part in path:
        node = next((inner for option in _options(root, node) for inner in _inside(option, part)), {})
    return node


def keys(root: Node, path: yaml_document.Path) -> list[str]:
    """Return the keys that the map at a path may have."""
    return [key for option in _options(root, find(root, path)) for key in option.get("properties", {})]


def words(root: Node, node: Node) -> str:
    """Describe the values that a schema allows, such as "a whole number from 1 to 512"."""
    if _is_reference(node):
        return "a reference"
    said: list[str] = []
    for option in node.get("anyOf") or [_resolved(root, node)]:
        if "enum" in option:
            said.append(f"{', '.join(option['enum'][:-1])} or {option['enum'][-1]}")
            continue
        kinds = option.get("type", ())
        for kind in [kinds] if isinstance(kinds, str) else kinds:
            said += [_WORDS[kind] + _range(option)] if kind in _WORDS else []
        if not kinds:
            said.append(words(root, option) if option else "any value")
    return " or ".join(said) or "any value"


def _mend(node: object) -> None:
    """Change pydantic's schema in place: refuse keys that fit no pattern, and allow a value to be a reference."""
    if isinstance(node, dict):
        if "oneOf" in node:
            node["anyOf"] = node.pop("oneOf")
        if "patternProperties" in node:
            node["additionalProperties"] = False
        for inner in node.values():
            _mend(inner)
    elif isinstance(node, list):
        for inner in node:
            _mend(inner)


def _resolved(root: Node, node: Node) -> Node:
    target = node.get("$ref")
    return root["$defs"][target.rpartition("/")[2]] if target else node


def _options(root: Node, node: Node) -> Iterator[Node]:
    choices = node.get("anyOf")
    if not choices:
        yield _resolved(root, node)
        return
    for choice in choices:
        yield from _options(root, choice)


def _inside(node: Node, part: str | int) -> Iterator[Node]:
    if isinstance(part, int):
        yield from [node["items"]] if "items" in node else []
    elif part in node.get("properties", {}):
        yield node["properties"][part]
    elif "properties" not in node:
        yield from node.get("patternProperties", {}).values()
        # A map whose keys may be any text.
        if isinstance(every := node.get("additionalProperties"), dict):
            yield every


def _range(node: Node) -> str:
    if node.get("minLength") or node.get("minItems"):
        return " that is not empty"
    low, high = node.get("minimum"), node.get("maximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    return "" if low is None else f", {low} or more"


def _entry(root: Node, key: str, node: Node, *, indent: str, active: bool, required: bool = False) -> Iterator[str]:
    target = _resolved(root, node)
    default = "required" if required else f"default: {node.get('x-default') or _inline(node.get('default'))}"
    member: Node = next(iter(target.get("patternProperties", {}).values()), {})
    yield f"{indent}# {node.get('description') or target['description']}"
    if "properties" in target and not _is_reference(node):
        yield f"{indent}{'' if active else '#'}{key}:"
        yield from _entries(root, target, indent=indent + "  ", active=active)
    elif "$ref" in member:
        yield f"{indent}# {words(root, node)}; {default}"
        yield f"{indent}#{key}:"
        yield f"{indent}  #{next(iter(node['examples'][0]))}:"
        yield from _entries(root, _resolved(root, member), indent=indent + "    ", active=False)
    elif section := _optional_section(root, node):
        yield f"{indent}# {words(root, node)}; {default}"
        yield f"{indent}#{key}:"
        yield from _entries(root, section, indent=indent + "  ", active=False)
    else:
        given = active and node.get("default") not in (None, {}, [])
        value = node.get("default") if given or "examples" not in node else node["examples"][0]
        yield f"{indent}# {words(root, node)}; {default}"
        yield f"{indent}{'' if given else '#'}{key}: {_inline(value)}"


def _is_reference(node: Node) -> bool:
    return str(node.get("$ref", "")).endswith("/Reference")


def _optional_section(root: Node, node: Node) -> Node | None:
    """Return the section that a key may have or not, unless it is a reference to a secret."""
    choices = [one for one in node.get("anyOf", ()) if one.get("type") != "null"]
    if len(choices) != 1 or len(node["anyOf"]) != 2 or _is_reference(choices[0]):
        return None
    section = _resolved(root, choices[0])
    return section if "properties" in section else None


def _entries(root: Node, section: Node, *, indent: str, active: bool) -> Iterator[str]:
    for key, node in section["properties"].items():
        required = key in section.get("required", ())
        yield from _entry(root, key, node, indent=indent, active=active, required=required)


def _inline(value: object) -> str:
    if value in (None, "", {}, []):
        return "none"
    line = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000)
    return line.removesuffix("\n").removesuffix("\n...")
