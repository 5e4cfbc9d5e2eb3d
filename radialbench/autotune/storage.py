"""Storage: where studies are kept: a journal, a database, or a proxy of Optuna's before one."""

import fcntl
import os
import random
import re
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import optuna
from optuna.exceptions import ExperimentalWarning, OptunaError
from optuna.storages.journal import JournalFileBackend, JournalStorage

from radialbench.errors import AutotuneError
from radialbench.reading import check_regular

BUSY_SECONDS = 600
"""How long SQLite waits for another process that writes; a lock on a slow disk takes a while."""

CONNECT_SECONDS = 10
"""How long a server that does not answer is waited for."""

GRPC_PORT = 13000
"""Port of Optuna's proxy, unless a URL has another."""

RACES = ("already exists", "unique constraint", "duplicate key")
"""What databases say where two processes create the same tables."""

RACE_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between attempts to open such a database."""

LINE = b'{"op_code":'
"""Start of a line of a journal."""

FORMS = "journal:PATH, sqlite:///PATH, postgresql://USER@HOST/NAME or grpc://HOST:PORT"

SECRETS = (
    re.compile(r"(?<=://)([^:/]*):.*@"),
    re.compile(r"(?i)(?<=[?&])(\w*(?:password|passwd|pwd))=[^&]*"),
)
"""Where a URL may hold a password, as SQLAlchemy reads it."""

EXTRAS = {"psycopg": "postgresql", "grpc": "grpc", "google": "grpc"}
"""Extra of this package that installs a library."""


class StorageError(AutotuneError):
    """A storage that cannot be opened, read or written."""


def open_storage(url: str) -> optuna.storages.BaseStorage:
    """Open a storage of Optuna's, or create it; call it within `storage_errors`.

    Args:
        url: `journal:PATH`, a URL of SQLAlchemy's, such as `sqlite:///PATH` or
            `postgresql://USER@HOST/NAME`, or `grpc://HOST:PORT` of Optuna's proxy.

    Raises:
        AutotuneError: The URL holds a password.
    """
    check_no_password(url)
    if url.startswith("journal:"):
        return open_journal(Path(url.removeprefix("journal:")))
    if url.startswith("grpc://"):
        return _open_proxy(url)
    if "://" not in url:
        raise ValueError("there is no such kind of storage")
    if url.startswith("sqlite"):
        return _create_database(url, {"connect_args": {"timeout": BUSY_SECONDS}})
    return _open_server(url, os.getpid())


@cache
def _open_server(url: str, process: int) -> optuna.storages.RDBStorage:
    """Open a database on a server, once in a process: each has connections of its own."""
    limited = url.startswith("postgresql") and "connect_timeout" not in url
    return _create_database(
        url, {"connect_args": {"connect_timeout": CONNECT_SECONDS}} if limited else {}
    )


def _create_database(url: str, options: dict[str, Any]) -> optuna.storages.RDBStorage:
    for pause in RACE_PAUSES:
        try:
            return optuna.storages.RDBStorage(url, engine_kwargs=options)
        except _errors() as error:
            # Another process creates the same tables: what is missing is created the next time.
            text = f"{error.__cause__ or error}".lower()
            if not any(sign in text for sign in RACES):
                raise
            time.sleep(pause * (1 + random.random()))
    return optuna.storages.RDBStorage(url, engine_kwargs=options)


def _open_proxy(url: str) -> optuna.storages.BaseStorage:
    where = urlsplit(url)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        proxy = optuna.storages.GrpcStorageProxy(
            host=where.hostname or "localhost", port=where.port or GRPC_PORT
        )
    proxy.wait_server_ready(timeout=CONNECT_SECONDS)
    return proxy


@contextmanager
def storage_errors(url: str, *kinds: type[Exception]) -> Iterator[None]:
    """Report errors of a storage in one line, with what to try."""
    try:
        yield
    except _errors(*kinds) as error:
        cause = error.__cause__ or error
        reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
        raise StorageError(
            f"cannot use the storage {without_password(url)}: {reason[:300]}. {_advice(url, cause)}"
        ) from None


def _advice(url: str, cause: BaseException) -> str:
    """Return what to try after an error of a storage."""
    extra = EXTRAS.get((getattr(cause, "name", None) or "").partition(".")[0])
    if extra is not None:
        return f"Install its driver: pip install 'radialbench[{extra}]'"
    host = re.match(r"(?:postgresql|mysql|mariadb|grpc)[+\w]*://(?:[^@]*@)?([^/?]+)", url)
    if host is None:
        return f"A storage is {FORMS}"
    return (
        f"See whether it runs on {host[1]}, lets this machine in, and has that user and password; "
        "trials that ended are kept there, and the same command continues"
    )


def _errors(*kinds: type[Exception]) -> tuple[type[Exception], ...]:
    """Return the errors that storages raise; those of libraries only where they were imported."""
    found: list[type[Exception]] = [OSError, OptunaError, *kinds]
    for module, name in (("sqlalchemy.exc", "SQLAlchemyError"), ("grpc", "RpcError")):
        if module in sys.modules:
            found.append(getattr(sys.modules[module], name))
    return tuple(found)


def check_no_password(url: str) -> None:
    """Refuse a URL that holds a password, which lists of processes and histories would show.

    Raises:
        AutotuneError: It does; the message has stars in its place.
    """
    if (safe := without_password(url)) != url:
        raise StorageError(
            f"a storage's URL holds no password, which the list of processes shows to others: "
            f"{safe}; set PGPASSWORD, or write it to ~/.pgpass, and leave it out"
        )


def without_password(url: str) -> str:
    """Return a storage's URL with stars for its password."""
    url = SECRETS[0].sub(r"\1:***@", url)
    return SECRETS[1].sub(r"\1=***", url)


class JournalLock:
    """Lets one process write at a time.

    The system releases it when its process ends, however it ends; Optuna's own lock files would
    stay, and the next process would wait half a minute. Acquiring it removes a line that a kill has
    left incomplete, as the next line would follow it directly.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: BinaryIO | None = None

    def acquire(self) -> bool:
        """Wait for the lock."""
        held = self._path.open("rb+")
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            _cut_incomplete_line(held)
        except BaseException:
            held.close()
            raise
        self._held = held
        return True

    def release(self) -> None:
        """Release the lock."""
        if self._held is not None:
            self._held.close()
            self._held = None


def open_journal(path: Path) -> JournalStorage:
    """Open a journal, or create it and its folder.

    Raises:
        OSError: It cannot be read or written.
        ValueError: It is another file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        check_regular(path)
        with path.open("rb") as file:
            start = file.read(len(LINE))
        if not LINE.startswith(start):
            raise ValueError("it is another file, no journal of Optuna's")
    backend = JournalFileBackend(str(path), lock_obj=JournalLock(path))  # type: ignore[arg-type]
    if not os.access(path, os.W_OK):
        raise PermissionError(13, "it cannot be written", str(path))
    return JournalStorage(backend)


def _cut_incomplete_line(file: BinaryIO) -> None:
    size = file.seek(0, os.SEEK_END)
    start = size
    tail = b""
    while start > 0 and b"\n" not in tail:
        start = max(0, start - 4096)
        file.seek(start)
        tail = file.read(size - start)
    incomplete = len(tail) - tail.rfind(b"\n") - 1
    if incomplete:
        file.truncate(size - incomplete)
