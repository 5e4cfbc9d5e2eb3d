"""Jobs for the pool's tests."""

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from radialbench.errors import BackendError


@dataclass(frozen=True)
class Add:
    """Give a sum, and the process it was made in."""

    a: int
    b: int

    def run(self) -> object:
        return self.a + self.b, os.getpid()


@dataclass(frozen=True)
class Die:
    """End the process as a compiler's abort does."""

    said: str = ""

    def run(self) -> object:
        sys.stderr.write(self.said)
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGABRT)
        return None


@dataclass(frozen=True)
class Exit:
    """End the process on purpose."""

    def run(self) -> object:
        os._exit(7)


@dataclass(frozen=True)
class Hang:
    """Leave the number of the process behind, and never come back."""

    path: Path

    def run(self) -> object:
        self.path.write_text(str(os.getpid()), encoding="ascii")
        while True:
            time.sleep(3600)


@dataclass(frozen=True)
class Raise:
    """Raise one of our errors, or another."""

    ours: bool

    def run(self) -> object:
        raise BackendError("blocks are 17") if self.ours else ValueError("not a number")


@dataclass(frozen=True)
class Loaded:
    """Give those of some modules that are imported, at some moment."""

    names: tuple[str, ...]
    moment: int

    def run(self) -> object:
        return tuple(name for name in self.names if name in sys.modules)


@dataclass(frozen=True)
class Hold:
    """Leave a file behind, and wait until another is there."""

    begun: Path
    go: Path

    def run(self) -> object:
        self.begun.write_text("begun", encoding="ascii")
        while not self.go.exists():
            time.sleep(0.01)
        return None


@dataclass(frozen=True)
class Note:
    """Add a line to a file."""

    path: Path
    line: str

    def run(self) -> object:
        with self.path.open("a", encoding="ascii") as file:
            file.write(f"{self.line}\n")
        return self.line
