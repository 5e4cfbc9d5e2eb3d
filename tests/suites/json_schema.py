"""As much of JSON Schema as suites need; a keyword it does not know is an error."""

import re
from typing import Any

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
SILENT = {"$schema", "$defs", "title", "description", "examples", "default"}


def errors(schema: dict[str, Any], value: Any, root: dict[str, Any] | None = None) -> list[str]:
    """Say why a value does not fit a schema; empty if it does."""
    root = schema if root is None else root
    found: list[str] = []
    for word, rule in schema.items():
        if word not in SILENT:
            found += _broken(word, rule, value, schema, root)
    return found


def _broken(
    word: str, rule: Any, value: Any, schema: dict[str, Any], root: dict[str, Any]
) -> list[str]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match word:
        case "$ref":
            return errors(root["$defs"][rule.removeprefix("#/$defs/")], value, root)
        case "type":
            fits = isinstance(value, TYPES[rule]) and (
                rule == "boolean" or not isinstance(value, bool)
            )
            return [] if fits else [f"{value!r} is no {rule}"]
        case "anyOf" | "oneOf":
            fitting = sum(not errors(option, value, root) for option in rule)
            good = fitting >= 1 if word == "anyOf" else fitting == 1
            return [] if good else [f"{value!r} fits {fitting} of {word}"]
        case "enum" | "const":
            known = rule if word == "enum" else [rule]
            return [] if value in known else [f"{value!r} is none of {known}"]
        case "properties" if isinstance(value, dict):
            return [
                f"{key}: {error}"
                for key in value.keys() & rule.keys()
                for error in errors(rule[key], value[key], root)
            ]
        case "additionalProperties" if isinstance(value, dict):
            extra = sorted(value.keys() - schema.get("properties", {}).keys())
            if rule is False:
                return [f"unknown {key}" for key in extra]
            return [error for key in extra for error in errors(rule, value[key], root)]
        case "required" if isinstance(value, dict):
            return [f"{key} is missing" for key in rule if key not in value]
        case "items" if isinstance(value, list):
            return [error for item in value for error in errors(rule, item, root)]
        case "minItems" | "maxItems" if isinstance(value, list):
            good = len(value) >= rule if word == "minItems" else len(value) <= rule
            return [] if good else [f"{len(value)} items"]
        case "minLength" | "maxLength" if isinstance(value, str):
            good = len(value) >= rule if word == "minLength" else len(value) <= rule
            return [] if good else [f"{len(value)} characters"]
        case "pattern" if isinstance(value, str):
            return [] if re.search(rule, value) else [f"{value!r} is not like {rule}"]
        case "minimum" | "maximum" | "exclusiveMinimum" if number:
            good = {
                "minimum": value >= rule,
                "maximum": value <= rule,
                "exclusiveMinimum": value > rule,
            }[word]
            return [] if good else [f"{value} breaks {word} {rule}"]
        case "properties" | "additionalProperties" | "required" | "items" | "minItems" | "maxItems":
            return []
        case "minLength" | "maxLength" | "pattern" | "minimum" | "maximum" | "exclusiveMinimum":
            return []
        case _:
            raise ValueError(f"a keyword that the tests do not know: {word}")
