"""Every error radialbench raises on purpose, so that one `except` is enough.

```text
RadialBenchError
├── GridError      a token grid, pixel size or model preset that cannot be
├── SpecError      a mask that cannot be read or does not fit its grid
├── TableError     a block table that breaks its invariants, or a file that holds none
├── RecordError    a stored result that cannot be read or written
├── SuiteError     a suite file that cannot be read, or plans nothing
├── BackendError   a backend that does not exist or cannot run a problem
├── AutotuneError  a search that cannot be started, stored or gone on with
├── ReportError    a report that cannot be made from what was given
└── IntegrationError   a pipeline or model that the drop-in attention does not fit
```

    try:
        table = compile_mask(load_mask("radial"), grid)
    except RadialBenchError as error:
        sys.exit(str(error))

A message says what was wrong, what was given, where, and what to try.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any


class RadialBenchError(Exception):
    """Base of all errors meant for the person at the keyboard."""


class GridError(RadialBenchError, ValueError):
    """A token grid, pixel size or model preset that cannot be."""


class SpecError(RadialBenchError):
    """A mask that cannot be read or does not fit its grid."""


class TableError(RadialBenchError):
    """A block table that breaks its invariants, or a file that holds none."""


class RecordError(RadialBenchError, ValueError):
    """A stored result that cannot be read or written."""


class SuiteError(RadialBenchError):
    """A suite file that cannot be read, or plans nothing."""


class BackendError(RadialBenchError):
    """A backend that does not exist or cannot run a problem."""


class AutotuneError(RadialBenchError):
    """A search that cannot be started, stored or gone on with."""


class ReportError(RadialBenchError):
    """A report that cannot be made from what was given."""


class IntegrationError(RadialBenchError):
    """A pipeline or model that the drop-in attention does not fit."""


def unknown(kind: str, given: object, known: Iterable[str]) -> str:
    """Say that a name is unknown, with the nearest known one or the whole list."""
    names = sorted(known)
    shown = str(given)[:80]
    near = get_close_matches(shown, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}."
    return f"unknown {kind} {shown!r}; {hint}"


def load_plugin(
    table: Mapping[str, str], name: str, *, kind: str, error: type[RadialBenchError]
) -> Any:
    """Import a plug-in, which a table lists as `module:attribute`, when it is asked for.

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
