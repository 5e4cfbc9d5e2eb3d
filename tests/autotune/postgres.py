"""A PostgreSQL server of a test's own, where its programs are on this machine."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

PASSWORD = "a:secret@of/ours"


def programs() -> Path:
    """Find the folder of initdb, or skip the test."""
    for driver in ("psycopg", "sqlalchemy"):
        if find_spec(driver) is None:
            pytest.skip(f"{driver} is not installed")
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    pytest.skip("initdb and postgres are not on this machine: install postgresql")


def unprivileged() -> str | None:
    """Name a user who may run the server, if this one may not: it refuses root."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    pytest.skip("postgres refuses root, and there is no user postgres or nobody")


@contextmanager
def server() -> Iterator[str]:
    """Run a server on a free port of this machine; the URL holds no password.

    Only who knows the password may connect; it is in the environment of none but the test.
    """
    # Not in pytest's folder, which is its user's alone.
    with tempfile.TemporaryDirectory(prefix="radialbench-", ignore_cleanup_errors=True) as folder:
        yield from _serve(Path(folder))


def _serve(folder: Path) -> Iterator[str]:
    bin, user = programs(), unprivileged()
    secret = folder / "password"
    secret.write_text(PASSWORD, encoding="utf-8")
    if user is not None:
        for path in (folder, secret):
            shutil.chown(path, user)
    data = folder / "data"
    run = {"user": user, "cwd": folder, "stdout": subprocess.DEVNULL}
    create = [bin / "initdb", "-D", data, "-U", "me", "-A", "scram-sha-256", "--no-sync"]
    subprocess.run([*create, f"--pwfile={secret}"], check=True, **run)  # type: ignore[call-overload]
    port = free_port()
    where = ["-h", "127.0.0.1", "-p", str(port), "-k", str(folder)]
    words = [bin / "postgres", "-D", data, *where, "-c", "fsync=off"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, stderr=log, **run)  # type: ignore[call-overload]
    try:
        _wait(process, port, folder / "log")
        yield f"postgresql://me@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)  # SIGTERM would wait for all that are connected.
        process.wait()


def free_port() -> int:
    """Find a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    """Wait until a server of this machine listens."""
    end = time.monotonic() + 300
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.05)


def _wait(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    import psycopg

    end = time.monotonic() + 300
    while True:
        try:
            psycopg.connect(
                host="127.0.0.1", port=port, user="me", password=PASSWORD, dbname="postgres"
            ).close()
            return
        except psycopg.OperationalError as error:
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < end, error
            time.sleep(0.05)
