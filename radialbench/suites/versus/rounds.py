"""Measure two versions in turn: in rounds, each in processes of its own."""

import glob
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from radialbench.errors import SuiteError
from radialbench.records.pooling import pooled
from radialbench.records.result import Record
from radialbench.records.store import RESULTS, read, write_whole
from radialbench.suites.plan import Case
from radialbench.suites.versus import Version, last_line

ROUNDS = 4
"""Processes of each version, if nothing else is asked for."""

NOW, BEFORE = "now", "before"


def measure_rounds(
    suite: Path,
    cases: Iterable[Case],
    versions: Mapping[str, Version],
    out: Path,
    *,
    rounds: int = ROUNDS,
    seed: int = 0,
    on_round: Callable[[str], None] = lambda line: None,
) -> None:
    """Measure cases with several versions in turn, and write a record a case for each version.

    The versions measure the cases of a shape one right after the other, each in a process of its
    own. The order is random, and each version comes first as often as the other.

    Args:
        suite: The suite's file, which every version reads; it alone determines the inputs.
        cases: The cases of the suite to measure.
        versions: The versions by the names of their folders.
        out: Folder for their folders, and for `rounds`, where each process's own records are.
        rounds: Processes of each version for each shape.
        seed: Seed of the order.
        on_round: Called with a line on each process before it starts.

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
                on_round(f"round {turn + 1}/{rounds}, shape {place + 1}/{len(shapes)}, {name}")
                _measure(suite, shape, versions[name], _folder(out, name, turn))
    for name in versions:
        _write(out / name, [_folder(out, name, turn) for turn in range(rounds)])


def _orders(names: list[str], rounds: int, draw: random.Random) -> list[list[str]]:
    """Draw the order of each round; each version comes first as often as the other."""
    starts = [turn % len(names) for turn in range(rounds)]
    draw.shuffle(starts)
    return [names[start:] + names[:start] for start in starts]


def _folder(out: Path, name: str, turn: int) -> Path:
    return out / "rounds" / f"{name}-{turn + 1}"


def _measure(suite: Path, shape: Sequence[Case], version: Version, folder: Path) -> None:
    """Measure the cases of a shape with a version, by its own command line."""
    filters = [word for case in shape for word in ("-f", _pattern(case.id))]
    options: list[str | Path] = ["-o", folder, "--resume", "--quiet", *filters]
    code, _, errors = version.run(["-m", "radialbench", "run", suite, *options])
    results = folder / RESULTS
    ids = {case.id for case in shape}
    # A case that fails ends a run with 1, too.
    if code in (0, 1) and results.exists() and _records(results).keys() & ids:
        return
    raise SuiteError(
        f"{version.name} cannot run {suite}: {last_line(errors, code)}. The two "
        "versions are measured with one suite: give one that both can run, or another version"
    )


def _pattern(case: str) -> str:
    """Return a pattern for one id; without wildcards it would match longer ids, too."""
    return f"[{case[0]}]{glob.escape(case[1:])}"


def _records(results: Path) -> dict[str, Record]:
    stored = read(results)
    if stored.skipped:
        raise SuiteError(
            f"{results} holds lines that this version cannot read ({stored.skipped[0]}): the two "
            "versions differ too much to be compared this way"
        )
    return {record.case: record for record in stored.records}


def _write(out: Path, folders: Iterable[Path]) -> None:
    """Write the records of a version's processes, pooled into one for each case."""
    by_case: dict[str, list[Record]] = {}
    for folder in folders:
        for case, record in _records(folder / RESULTS).items():
            by_case.setdefault(case, []).append(record)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / RESULTS, map(pooled, by_case.values()))
