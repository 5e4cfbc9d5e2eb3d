"""`python -m radialbench`: the command line."""

import sys
from contextlib import suppress
from pathlib import Path

from radialbench.cli import main

if __name__ == "__main__":
    # Python searches the current folder first: there, a module of whoever wrote a suite must not
    # be found for the backend that the suite names. `radialbench` and `python -P` do not either.
    with suppress(FileNotFoundError):
        if not sys.flags.safe_path and sys.path[0] == str(Path.cwd()):
            del sys.path[0]
    main()
