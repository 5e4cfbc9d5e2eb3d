"""What must not outlive this process, however it ends: processes and temporary folders.

A small process, the keeper, is told of them. It waits until this one closes their pipe, which the
system does even when it is killed, and then kills the processes and removes the folders.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from radialbench.errors import SuiteError

END_SECONDS = 10.0

_CODE = """
import json, os, shutil, signal, subprocess, sys, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
groups, folders = {}, {}
for line in sys.stdin:
    kind, name, what = json.loads(line)
    kept = groups if kind == "group" else folders
    if what is None:
        kept.pop(name, None)
    else:
        kept[name] = what
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass
for folder, commands in folders.items():
    for command in commands:
        subprocess.run(command)
    for _ in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.lexists(folder):
            break
        time.sleep(0.05)
"""

_starting = threading.Lock()
_keepers: dict[int, "subprocess.Popen[str]"] = {}
"""The keeper of a process: one that was forked needs its own."""


def keep_group(group: int) -> None:
    """Have a process group killed when this process ends."""
    _tell("group", group, True)


def kill_group(group: int) -> None:
    """Kill a process group: a process that leads a session, and what it has started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    _tell("group", group, None)


@contextmanager
def temporary_folder(
    prefix: str = "radialbench-", *, folder: Path | None = None, undo: Sequence[Sequence[str]] = ()
) -> Iterator[Path]:
    """Make a temporary folder, and remove it at the end.

    Args:
        prefix: What its name begins with.
        folder: Folder to make it in; the system's for temporary files if not given.
        undo: Commands to run before it is removed if this process is killed, with `{}` for it.

    Raises:
        SuiteError: It cannot be made.
    """
    try:
        opened = tempfile.TemporaryDirectory(prefix=prefix, dir=folder)
    except OSError as error:
        raise SuiteError(
            f"cannot make a temporary folder: {error.strerror or error}; set TMPDIR to a folder "
            "that can be written to"
        ) from None
    with opened as made:
        path = str(Path(made).resolve())
        commands = [[word.replace("{}", path) for word in command] for command in undo]
        _tell("folder", path, commands)
        try:
            yield Path(made)
        finally:
            _tell("folder", path, None)


def run_kept(command: Sequence[str], **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run a command as `subprocess.run` does; it and what it starts end with this process."""
    # Ctrl-C is for this process, which then ends the others.
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, text=True, start_new_session=True, **options
    )
    try:
        keep_group(process.pid)
        out, errors = process.communicate()
    finally:
        kill_group(process.pid)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=END_SECONDS)
    return subprocess.CompletedProcess(command, process.returncode, out, errors)


def _tell(kind: str, name: str | int, what: object) -> None:
    """Send a line to the keeper, which is started if there is none."""
    with _starting, suppress(OSError):
        keeper = _keepers.get(os.getpid())
        if keeper is None:
            if what is None:
                return
            keeper = _keepers[os.getpid()] = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _CODE],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                text=True,
                start_new_session=True,
            )
            atexit.register(_dismiss, keeper)
        assert keeper.stdin is not None
        keeper.stdin.write(json.dumps([kind, name, what]) + "\n")
        keeper.stdin.flush()


def _dismiss(keeper: "subprocess.Popen[str]") -> None:
    """Let the keeper see that this process ends, and wait for it."""
    with suppress(OSError), keeper:
        pass
