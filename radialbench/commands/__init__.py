"""The verbs of the command line, each a file: read options, call one function, print, exit."""

FAILED = 1
"""Exit code if what was asked for failed."""

BAD_INPUT = 2
"""Exit code if the input was bad."""

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

INTERNAL_ERROR = 70
"""Exit code of an unexpected error."""
