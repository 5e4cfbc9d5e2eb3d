"""Versions that measure nothing, and copies of this one with something changed."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from radialbench.records.result import Record
from radialbench.records.store import RESULTS, append
from radialbench.suites.plan import Case
from radialbench.suites.versus import PACKAGE, Version

Make = Callable[[Path, Sequence[str]], Sequence[Record]]
"""Gives the records for a folder and the ids of cases."""


@dataclass(frozen=True)
class Fake(Version):
    """A version whose runs write made-up records.

    Attributes:
        cases: Of the suite.
        make: Gives what a run writes.
        code: What a run exits with.
        told: What it says on standard error.
    """

    cases: Sequence[Case]
    make: Make
    code: int
    told: str

    def run(self, words: Sequence[str | Path]) -> tuple[int, str, str]:
        folder = Path(words[words.index("-o") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        for record in self.make(folder, ids_of(list(map(str, words)), self.cases)):
            append(folder / RESULTS, record)
        return self.code, "", self.told


def fake(name: str, cases: Sequence[Case], make: Make, *, code: int = 0, told: str = "") -> Fake:
    """Give a version that measures nothing."""
    return Fake(name, Path("/nowhere"), cases, make, code, told)


def ids_of(words: Sequence[str], cases: Sequence[Case]) -> list[str]:
    """Give the ids that a command's filters let pass."""
    patterns = [words[place + 1] for place, word in enumerate(words) if word == "-f"]
    return [c.id for c in cases if any(fnmatchcase(c.id, pattern) for pattern in patterns)]


def changed(folder: Path, file: str, old: str, new: str) -> Version:
    """Copy this version into a folder, with a text in one of its files replaced, once."""
    package = folder / PACKAGE.name
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    text = (package / file).read_text(encoding="utf-8")
    assert old in text
    (package / file).write_text(text.replace(old, new, 1), encoding="utf-8")
    return Version(folder.name, folder)


SOFTMAX = "        p, m_i, l_i, alpha = _softmax(qk, m_i, l_i, scale_log2)\n"
KERNEL = "kernels/triton/forward.py"
BARRIER = (KERNEL, SOFTMAX, f"        tl.debug_barrier()\n{SOFTMAX}")
STAGE = (
    "kernels/select.py",
    "config.num_stages or stages}",
    "config.num_stages or max(1, stages - 1)}",
)
NOTHING = (KERNEL, SOFTMAX, f"        # The same in other words.\n{SOFTMAX}")


def one_kernel(document: dict[str, Any]) -> None:
    """Make the small suite one of the portable kernel alone."""
    grid = {"frames": 2, "height": 4, "width": 5}
    document["cases"][0].update(masks=["dense"], grids=[grid], backends=["triton"])
    document["cases"][0].update(head_dim=64, dtype="float16")
