"""Files of results to one, such as those of a suite's shards: no record is lost or doubled."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from radialbench.errors import RecordError
from radialbench.records.result import UNSOUND, Record
from radialbench.records.store import DISK_FULL, RESULTS, WriteError, read, write_whole


@dataclass(frozen=True, slots=True)
class Merged:
    """What merging gave.

    Attributes:
        results: The file of results.
        suite: Name of the suite.
        records: In the order in which their cases were first met.
        same: Records that another file holds too.
        replaced: Unsound records that gave way to a later one of their case.
        skipped: Lines that are no records, as `file: line 12: reason`.
    """

    results: Path
    suite: str
    records: tuple[Record, ...]
    same: int
    replaced: int
    skipped: tuple[str, ...]


def merge(files: Sequence[Path], out: Path) -> Merged:
    """Merge files of results; of a case's records, a later one counts if the earlier was unsound.

    Args:
        files: The files.
        out: Folder for the merged one; made if it is not there.

    Raises:
        RecordError: A file cannot be read or holds no record, two are of different suites or hold
            sound records of one case, or the folder holds results or cannot be used.
        WriteError: The disk is full.
    """
    met: dict[str, list[tuple[Record, Path]]] = {}
    suites: dict[str, Path] = {}
    skipped: list[str] = []
    same = 0
    for file in files:
        found = read(file)
        skipped += [f"{file}: {line}" for line in found.skipped]
        if not found.records:
            raise RecordError(f"{file} holds no records; leave it out")
        for record in found.records:
            suites.setdefault(record.suite, file)
            known = met.setdefault(record.case, [])
            if any(record == other for other, _ in known):
                same += 1
            else:
                known.append((record, file))
    if len(suites) > 1:
        told = " and ".join(f"{name!r} in {file}" for name, file in suites.items())
        raise RecordError(f"results of different suites, {told}; merge those of one suite")
    records = tuple(_settled(known) for known in met.values())
    replaced = sum(map(len, met.values())) - len(records)
    results = _write(records, out)
    return Merged(results, next(iter(suites)), records, same, replaced, tuple(skipped))


def _settled(known: list[tuple[Record, Path]]) -> Record:
    """Give the record of a case that counts."""
    # Sorting is stable: of one second, the later in the order given.
    ordered = sorted(known, key=lambda pair: datetime.fromisoformat(pair[0].created))
    for (earlier, first), (later, second) in pairwise(ordered):
        # A configuration that the suite leaves open may have been tuned meanwhile.
        fixed = {earlier.config_source, later.config_source} == {"suite"}
        if earlier.problem != later.problem or (fixed and earlier.config != later.config):
            raise RecordError(
                f"{first} and {second} hold {earlier.case} for different masks or shapes: the "
                "suite has changed between them, and their results do not belong together"
            )
        if earlier.status not in UNSOUND:
            raise RecordError(
                f"{first} and {second} both hold {earlier.case}: {earlier.status} at "
                f"{earlier.created}, then {later.status} at {later.created}; merge shards that do "
                "not overlap, or leave one of the two out"
            )
    return ordered[-1][0]


def _write(records: Sequence[Record], out: Path) -> Path:
    """Write all records, or nothing."""
    results = out / RESULTS
    try:
        out.mkdir(parents=True, exist_ok=True)
        if results.exists() and results.stat().st_size:
            raise RecordError(f"{results} already holds results; choose another folder")
        write_whole(results, records)
    except OSError as error:
        kind = WriteError if error.errno in DISK_FULL else RecordError
        raise kind(
            f"cannot write results to {out}: {error.strerror or error}; choose another folder"
        ) from None
    return results
