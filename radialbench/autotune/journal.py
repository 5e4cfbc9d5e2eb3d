"""A journal of Optuna's that is whole after any kill: the lock of its file."""

import fcntl
import os
from pathlib import Path
from typing import BinaryIO

from optuna.storages.journal import JournalFileBackend, JournalStorage

LINE = b'{"op_code":'
"""How a line begins."""


class JournalLock:
    """Lets one process write at a time.

    The system lets go of it when its process ends, however it ends; the files that Optuna marks its
    own locks with would stay, and the next process wait half a minute. A line that a kill has left
    unfinished is taken away, as the next would be written right behind it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: BinaryIO | None = None

    def acquire(self) -> bool:
        """Wait for the lock."""
        held = self._path.open("rb+")
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            _mend(held)
        except BaseException:
            held.close()
            raise
        self._held = held
        return True

    def release(self) -> None:
        """Let go of it."""
        if self._held is not None:
            self._held.close()
            self._held = None


def open_journal(path: Path) -> JournalStorage:
    """Open a journal, or make it and its folder.

    Raises:
        OSError: It cannot be read or written.
        ValueError: It is another file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        with path.open("rb") as file:
            start = file.read(len(LINE))
        if not LINE.startswith(start):
            raise ValueError("it is another file, no journal of Optuna's")
    backend = JournalFileBackend(str(path), lock_obj=JournalLock(path))  # type: ignore[arg-type]
    if not os.access(path, os.W_OK):
        raise PermissionError(13, "it cannot be written", str(path))
    return JournalStorage(backend)


def _mend(file: BinaryIO) -> None:
    """Cut off an unfinished line."""
    size = file.seek(0, os.SEEK_END)
    start = size
    tail = b""
    while start > 0 and b"\n" not in tail:
        start = max(0, start - 4096)
        file.seek(start)
        tail = file.read(size - start)
    unfinished = len(tail) - tail.rfind(b"\n") - 1
    if unfinished:
        file.truncate(size - unfinished)
