"""Owner: which process a trial belongs to, and whether it still lives."""

import os
import time
from pathlib import Path

from radialbench.kernels.environment import host

ABANDONED_SECONDS = 3600.0
"""Trials take minutes at most: one that another machine began that long ago was left by a dead
process."""


def me() -> str:
    """Name this process, and the moment."""
    return f"{host()} {os.getpid()} {_started(os.getpid())} {time.time():.0f}"


def alive(owner: str) -> bool:
    """Tell whether a process may still be at work on what it began; this one is not."""
    machine, pid, started, begun = owner.split()
    if machine != host():
        return time.time() - float(begun) < ABANDONED_SECONDS
    return int(pid) != os.getpid() and _started(int(pid)) == started


def _started(pid: int) -> str | None:
    """Give when a process began, which tells it from a later one of the same number.

    None if there is none, or it is dead but for its parent's taking note.
    """
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except ProcessLookupError:
        return None
    else:
        return None if words[0] in "ZX" else words[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "unknown"
