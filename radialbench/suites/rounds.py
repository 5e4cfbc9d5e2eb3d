"""Two versions measured beside each other: in rounds, in processes of their own, in turn."""

import glob
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from radialbench.errors import SuiteError
from radialbench.records.result import Record
from radialbench.records.store import RESULTS, read, write_whole
from radialbench.suites.plan import Case
from radialbench.suites.pooled import pooled
from radialbench.suites.versions import Version

ROUNDS = 4
"""Processes of each version, if nothing else is asked for."""

NOW, BEFORE = "now", "before"

Say = Callable[[str], None]


def measure_rounds(
    suite: Path,
    cases: Iterable[Case],
    versions: Mapping[str, Version],
    out: Path,
    *,
    rounds: int = ROUNDS,
    seed: int = 0,
    say: Say = lambda line: None,
) -> None:
    """Measure cases with several versions in turn, and write a record a case for each version.

    The cases of a shape are measured by one version and at once by the next, each in a process of
    its own. In which order is drawn, such that each version comes first as often as the other.

    Args:
        suite: The suite's file, which every version reads; inputs follow from it alone.
        cases: The cases of the suite to measure.
        versions: The versions by the names of their folders.
        out: Folder for their folders, and for `rounds`, where each process's own records are.
        rounds: Processes of each version for each shape.
        seed: Seed of the order.
        say: Told what is done.

    Raises:
        SuiteError: A version cannot run the suite.
        RecordError: Its records cannot be read.
        OSError: The results cannot be written.
    """
    by_group: dict[str, list[Case]] = {}
    for case in cases:
        by_group.setdefault(case.group, []).append(case)
    shapes = list(by_group.values())
    draw = random.Random(seed)
    orders = [_orders(list(versions), rounds, draw) for _ in shapes]
    for turn in range(rounds):
        for place, shape in enumerate(shapes):
            for name in orders[place][turn]:
                say(f"round {turn + 1}/{rounds}, shape {place + 1}/{len(shapes)}, {name}")
                _measure(suite, shape, versions[name], _folder(out, name, turn))
    for name in versions:
        _write(out / name, [_folder(out, name, turn) for turn in range(rounds)])


def _orders(names: list[str], rounds: int, draw: random.Random) -> list[list[str]]:
    """Draw who comes first in each round: each as often as the other."""
    starts = [turn % len(names) for turn in range(rounds)]
    draw.shuffle(starts)
    return [names[start:] + names[:start] for start in starts]


def _folder(out: Path, name: str, turn: int) -> Path:
    return out / "rounds" / f"{name}-{turn + 1}"


def _measure(suite: Path, shape: Sequence[Case], version: Version, folder: Path) -> None:
    """Have a version measure the cases of a shape, by its own command line."""
    filters = [word for case in shape for word in ("-f", _exactly(case.id))]
    command: list[str | Path] = [
        "-m",
        "radialbench",
        "run",
        suite,
        "-o",
        folder,
        "--resume",
        "--quiet",
        *filters,
    ]
    code, _, told = version.run(command)
    results = folder / RESULTS
    wanted = {case.id for case in shape}
    # A case that fails ends a run with 1, too.
    if code in (0, 1) and results.exists() and _records(results).keys() & wanted:
        return
    lines = told.strip().splitlines() or [f"it exits with {code} and says nothing"]
    raise SuiteError(
        f"{version.name} cannot run {suite}: {lines[-1].removeprefix('radialbench: ')}. The two "
        "versions are measured with one suite: give one that both can run, or another version"
    )


def _exactly(case: str) -> str:
    """Write an id as a pattern: what has no sign of one would find longer ids, too."""
    return f"[{case[0]}]{glob.escape(case[1:])}"


def _records(results: Path) -> dict[str, Record]:
    found = read(results)
    if found.skipped:
        raise SuiteError(
            f"{results} holds lines that this version cannot read ({found.skipped[0]}): the two "
            "versions differ too much to be compared this way"
        )
    return {record.case: record for record in found.records}


def _write(out: Path, folders: Iterable[Path]) -> None:
    """Write what the processes of a version found, as a record a case."""
    by_case: dict[str, list[Record]] = {}
    for folder in folders:
        for case, record in _records(folder / RESULTS).items():
            by_case.setdefault(case, []).append(record)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / RESULTS, map(pooled, by_case.values()))
