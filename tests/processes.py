"""Processes that tests watch."""

import os
import time
from contextlib import suppress
from pathlib import Path


def gone(process: int) -> bool:
    """Wait for a process to end; tell whether it does."""
    end = time.monotonic() + 600
    with suppress(ProcessLookupError, FileNotFoundError):
        while time.monotonic() < end:
            os.kill(process, 0)
            if ") Z " in Path(f"/proc/{process}/stat").read_text(encoding="ascii"):
                return True
            time.sleep(0.05)
        return False
    return True
