"""Plug-ins: tables of names, and where each lives, `module:attribute`."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from radialbench.errors import RadialBenchError, unknown


def load_plugin(
    table: Mapping[str, str], name: str, *, kind: str, error: type[RadialBenchError]
) -> Any:
    """Import a plug-in's file, and give what it is.

    Args:
        table: Where each lives.
        name: Which one.
        kind: What they are, for the message.
        error: Raised if none has this name.
    """
    if name not in table:
        raise error(unknown(kind, name, table))
    module, attribute = table[name].split(":")
    return getattr(import_module(module), attribute)
