"""Records of this machine's kernels as they are, for tests of what is looked up."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from radialbench.kernels.tuned import compiler_version, device_name, source_hash
from radialbench.records.problem import Problem
from radialbench.records.tuning import TuningRecord, key_of
from radialbench.records.tuning_file import write_tuning
from tests.records.tuned import tuned


def fresh(backend: str, device: str = "cpu", **changes: Any) -> TuningRecord:
    """A record of a backend on a device of this machine, not stale."""
    here = {
        "device": device_name(device),
        "kernel": source_hash(backend, changes.get("direction", "forward")),
        "versions": compiler_version(backend),
    }
    return tuned(backend=backend, **here | changes)


def fresh_for(problem: Problem, backend: str, device: str = "cpu", **changes: Any) -> TuningRecord:
    """A record of a problem on a device of this machine, not stale."""
    shape = asdict(key_of(problem, backend, device_name(device)))
    shape = {name: shape[name] for name in shape.keys() - {"backend", "device"}}
    return fresh(backend, device, **shape | changes)


def written(folder: Path, *records: TuningRecord) -> Path:
    """Write a file of records, later than the one that is there."""
    path = folder / "mine.jsonl"
    before = path.stat().st_mtime_ns if path.exists() else 0
    write_tuning(path, records)
    later = max(path.stat().st_mtime_ns, before + 1)
    os.utime(path, ns=(later, later))
    return path
