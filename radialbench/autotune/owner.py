"""Owner: the process that runs a trial, how others see that it is dead, and its signs of life."""

import hashlib
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from radialbench.kernels.measure.environment import host

BEAT_SECONDS = 15.0
"""How often the process of a trial gives a sign of life."""

SILENT_SECONDS = 120.0
"""A process of another machine that gave none for so long is dead."""


def trial_owner() -> str:
    """Return the owner of a trial that starts now: this process, and the time."""
    return f"{_place()} {os.getpid()} {_started(os.getpid())} {time.time():.0f}"


def is_here(owner: str) -> bool:
    """Return whether a process is of this machine, where its number can be looked up."""
    return owner.split()[0] == _place()


def is_alive(owner: str) -> bool:
    """Return whether an owner of this machine may still run its trial; this process does not."""
    _, pid, started, _ = owner.split()
    return int(pid) != os.getpid() and _started(int(pid)) == started


class Signs:
    """Signs of life of processes on other machines, by trial.

    Only their changes count, by the clock of this process: clocks of machines differ.
    """

    def __init__(self) -> None:
        self._seen: dict[int, tuple[object, float]] = {}

    def are_missing(self, number: int, sign: object) -> bool:
        """Return whether a trial's sign has not changed for too long; call it again and again."""
        now = time.monotonic()
        last, since = self._seen.setdefault(number, (sign, now))
        if last != sign:
            self._seen[number] = (sign, now)
            return False
        return now - since > SILENT_SECONDS


class Beat:
    """Calls a function with 1, 2, 3, … at an interval, in a thread, until it is stopped.

    What the function raises is ignored: the next sign may come through.
    """

    def __init__(self, give: Callable[[int], None]) -> None:
        self._give = give
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop; no sign is on its way afterwards."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        count = 0
        while not self._stopped.wait(BEAT_SECONDS):
            count += 1
            with suppress(Exception):
                self._give(count)


def _place() -> str:
    """Return what the numbers of processes count in: the machine, its boot, and the container."""
    facts = [host()]
    with suppress(OSError):
        facts += [Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()]
        facts += [str(Path("/proc/self/ns/pid").readlink())]
    return hashlib.sha256(" ".join(facts).encode()).hexdigest()[:12]


def _started(pid: int) -> str | None:
    """Return when a process started, which differs from a later one of the same number.

    None if there is none, or it is a zombie.
    """
    try:
        stats = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except ProcessLookupError:
        return None
    else:
        return None if stats[0] in "ZX" else stats[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "unknown"
