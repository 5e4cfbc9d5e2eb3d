"""Baselines as files in git: the last good record of each case and device, and why it is there."""

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from radialbench.errors import RecordError, ReportError
from radialbench.records.codec import to_dict
from radialbench.records.result import UNSOUND, Record
from radialbench.records.store import record_of
from radialbench.reports.text import printable

Key = tuple[str, str, str, str]


def of_the_same_devices(baseline: Sequence[Record], current: Iterable[Record]) -> list[Record]:
    """Return a baseline's records of the devices of others; all, if it has none of those."""
    devices = {_place(record) for record in current}
    return [one for one in baseline if _place(one) in devices] or list(baseline)


def update(path: Path, current: Iterable[Record], *, reason: str) -> tuple[int, int]:
    """Put records into a baseline, in place of those of the same case and device.

    Each line is a record with one key more, `baseline`, that holds the reason. The file is made if
    it is not there, sorted, so that a difference in git shows the cases that changed, and replaced
    whole or not at all.

    Args:
        path: The baseline.
        current: Records that are the measure from now on; the last of a case counts.
        reason: Why, for those who read it later.

    Returns:
        How many records are in the place of others, and how many are new.

    Raises:
        ReportError: The reason is empty, a case did not go well, or the baseline cannot be read or
            written.
    """
    if not reason.strip():
        raise ReportError("a baseline is updated for a reason: say it with --reason")
    latest = {_key(record): record for record in current}
    for record in latest.values():
        if record.status in UNSOUND:
            raise ReportError(
                f"{printable(record.case)} is {record.status}: in a baseline it would let the same "
                "fault pass. Measure it again, or leave it out"
            )
    lines = _lines(path) if path.exists() else {}
    replaced = len(lines.keys() & latest.keys())
    lines |= {key: _line(record, reason.strip()) for key, record in latest.items()}
    _write(path, [lines[key] for key in sorted(lines)])
    return replaced, len(latest) - replaced


def _place(record: Record) -> tuple[str, str]:
    return record.environment.device, record.environment.processor


def _key(record: Record) -> Key:
    return (*_place(record), record.measure, record.case)


def _lines(path: Path) -> dict[Key, bytes]:
    """The lines there are, as they are: what they say of themselves is kept."""
    found: dict[Key, bytes] = {}
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ReportError(f"cannot read {path}: {error.strerror or error}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found[_key(record_of(line))] = line + b"\n"
        except RecordError as error:
            raise ReportError(
                f"{path}:{number} is no record: {error}. Take the line out, or choose another file"
            ) from None
    return found


def _line(record: Record, reason: str) -> bytes:
    facts = to_dict(record) | {"baseline": {"reason": reason}}
    return json.dumps(facts, allow_nan=False, ensure_ascii=False).encode() + b"\n"


def _write(path: Path, lines: list[bytes]) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise ReportError(f"cannot write {path}: {error.strerror or error}") from None
