"""How files are written: whole or not at all, by one process at a time, and where links lead."""

import errno
import fcntl
import os
import secrets
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

SUMS = "SHA256SUMS"
"""File that marks a folder as complete; `sha256sum -c SHA256SUMS` checks the files it lists."""

READER_WAIT = 2.0
"""Seconds that a pipe without a reader is waited for."""


def check_path(path: str | Path) -> None:
    """Refuse a path that no file can have, for which Python raises ValueError.

    Raises:
        OSError: The path holds a NUL character.
    """
    if "\0" in str(path):
        raise OSError(errno.EINVAL, "a path cannot hold NUL characters", str(path))


@contextmanager
def replacement(path: Path) -> Iterator[BinaryIO]:
    """Open what replaces a file once it is complete and on the disk.

    A link stays, and the file it leads to is replaced; that file's mode and owner stay, too. What
    is no regular file (a device, a pipe) is written to in one go, and so is standard output, which
    is `-` or what it is redirected to.

    Raises:
        OSError: It cannot be written; its `filename` is the path, and the former file is kept.
    """
    check_path(path)
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{target.name[:40]}.{secrets.token_hex(6)}.part")
    try:
        if (stream := _stream(path)) is not None or _is_special(path):
            content = BytesIO()
            yield content
            if stream is None:
                _write_special(path, content.getvalue())
            else:
                stream.write(content.getvalue())
                stream.flush()
            return
        try:
            with part.open("xb") as file:
                yield file
                file.flush()
                with suppress(FileNotFoundError):
                    _keep_owner_and_mode(file.fileno(), target.stat())
                os.fsync(file.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        if error.filename in (None, str(part)):
            error.filename, error.filename2 = str(path), None
        raise


def write_files(contents: Mapping[Path, bytes], *, folder: Path | None = None) -> None:
    """Write files; none is replaced before all are on the disk.

    Args:
        contents: What each file holds.
        folder: Folder of all the files, if it is marked as complete: its `SUMS` is removed before
            the first file is replaced, and lists all of them after the last.

    Raises:
        OSError: One cannot be written; its `filename` is the path.
    """
    with ExitStack() as files:
        for path, content in contents.items():
            file = files.enter_context(replacement(path))
            file.write(content)
            file.flush()
        if folder is not None:
            (folder / SUMS).unlink(missing_ok=True)
    if folder is not None:
        sums = [f"{sha256(text).hexdigest()}  {path.name}\n" for path, text in contents.items()]
        write_files({folder / SUMS: "".join(sums).encode()})


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Keep other processes from a file, from before it is read until it is replaced.

    A file that does not exist is created, and removed if it is still empty at the end. The system
    releases the lock when the process ends, however it ends. Devices, pipes and network file
    systems without locks are not locked.

    Args:
        path: The file.
        wait: Whether to wait for the process that has it.

    Raises:
        BlockingIOError: Another process has it, and `wait` is false.
        OSError: It cannot be opened for writing.
    """
    check_path(path)
    if _stream(path) is not None or _is_special(path):
        yield
        return
    created = not path.exists()
    handle = _lock(path, wait=wait)
    try:
        yield
    finally:
        if created and _is_at(handle, path) and not os.fstat(handle).st_size:
            path.resolve().unlink()
        os.close(handle)


def is_output(path: Path) -> bool:
    """Return whether a path is standard output: `-`, or what it is redirected to."""
    return _stream(path) is sys.stdout.buffer


def _lock(path: Path, *, wait: bool) -> int:
    """Return a handle of the locked file that the path leads to."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(handle)
            raise
        except OSError:
            return handle  # Some network file systems have no locks.
        if _is_at(handle, path):
            return handle
        os.close(handle)  # It was replaced or removed while this process waited.


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _is_special(path: Path) -> bool:
    """Return whether a path leads to something that is neither a regular file nor a folder."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _write_special(path: Path, content: bytes) -> None:
    """Write to a device or a pipe; a pipe must have a reader by then, or in a moment."""
    end = time.monotonic() + READER_WAIT
    while True:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            break
        except OSError as error:
            if error.errno != errno.ENXIO or not path.is_fifo():
                raise
            if time.monotonic() > end:
                error.strerror = "no process reads from this pipe"
                raise
        time.sleep(0.02)
    os.set_blocking(handle, True)
    with os.fdopen(handle, "wb") as file:
        file.write(content)


def _stream(path: Path) -> BinaryIO | None:
    """Return the open stream, standard output or error, that a path leads to."""
    for stream in (sys.stdout, sys.stderr):
        if path == Path("-"):
            return stream.buffer
        with suppress(OSError, ValueError):
            if os.path.samestat(path.stat(), os.fstat(stream.fileno())):
                return stream.buffer
    return None


def _keep_owner_and_mode(handle: int, former: os.stat_result) -> None:
    with suppress(OSError):
        os.fchown(handle, former.st_uid, former.st_gid)
    os.fchmod(handle, stat.S_IMODE(former.st_mode))
