"""What a value breaks of a JSON Schema."""

from typing import Any

from jsonschema import Draft202012Validator


def errors(schema: dict[str, Any], value: Any) -> list[str]:
    """Return why a value does not fit a schema; empty if it does."""
    return [error.message for error in Draft202012Validator(schema).iter_errors(value)]
