"""Texts in the JSON syntax of Terraform and Packer, which evaluate expressions in them."""

from __future__ import annotations


class HclExpression(str):
    """A text that the tool evaluates. Every other text in the configuration is one of a user."""

    __slots__ = ()


def quote(value: object) -> object:
    """Return a value in whose texts, also in keys, the tool evaluates nothing but instances of HclExpression."""
    match value:
        case HclExpression():
            return value
        case str():
            return value.replace("${", "$${").replace("%{", "%%{")
        case dict():
            return {quote(key): quote(inner) for key, inner in value.items()}
        case list() | tuple():
            return [quote(inner) for inner in value]
    return value
