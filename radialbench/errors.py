"""The errors that radialbench raises, with one base.

```text
RadialBenchError
├── GridError      an invalid token grid, pixel size or model preset
├── SpecError      a mask that cannot be read or does not fit its grid
├── TableError     a block table that breaks its invariants, or a file without one
├── RecordError    a stored result that cannot be read or written
├── SuiteError     a suite file that cannot be read, or plans nothing
├── InputsError    q, k and v that cannot be read, or do not fit what is asked of them
├── BackendError   a backend that does not exist or cannot run a problem
├── AutotuneError  a search that cannot be started, stored or continued
├── ReportError    a report that cannot be made from what was given
└── IntegrationError   a pipeline or model that the drop-in attention does not fit
```

    try:
        table = compile_mask(load_mask("radial"), grid)
    except RadialBenchError as error:
        sys.exit(str(error))

A message names the fault, what was given, where, and what to try.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any


class RadialBenchError(Exception):
    """Base of all errors that are shown to users as they are."""


class GridError(RadialBenchError, ValueError):
    """An invalid token grid, pixel size or model preset."""


class SpecError(RadialBenchError):
    """A mask that cannot be read or does not fit its grid."""


class TableError(RadialBenchError):
    """A block table that breaks its invariants, or a file without one."""


class RecordError(RadialBenchError, ValueError):
    """A stored result that cannot be read or written."""


class SuiteError(RadialBenchError):
    """A suite file that cannot be read, or plans nothing."""


class InputsError(RadialBenchError):
    """q, k and v that cannot be read, or do not fit what is asked of them."""


class BackendError(RadialBenchError):
    """A backend that does not exist or cannot run a problem."""


class AutotuneError(RadialBenchError):
    """A search that cannot be started, stored or continued."""


class ReportError(RadialBenchError):
    """A report that cannot be made from what was given."""


class IntegrationError(RadialBenchError):
    """A pipeline or model that the drop-in attention does not fit."""


def unknown(kind: str, given: object, known: Iterable[str]) -> str:
    """Return the message for an unknown name, with the nearest known one or the whole list."""
    names = sorted(known)
    shown = str(given)[:80]
    near = get_close_matches(shown, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}."
    return f"unknown {kind} {shown!r}; {hint}"


def load_plugin(
    table: Mapping[str, str], name: str, *, kind: str, error: type[RadialBenchError]
) -> Any:
    """Import a plug-in that a table lists as `module:attribute`.

    Args:
        table: Module and attribute of each plug-in.
        name: The plug-in.
        kind: Kind of the plug-ins, for the message.
        error: Raised if none has this name.
    """
    if name not in table:
        raise error(unknown(kind, name, table))
    module, attribute = table[name].split(":")
    return getattr(import_module(module), attribute)
