"""A record like those a run writes, for tests to vary."""

from dataclasses import replace
from typing import Any

from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.identity import MaskIdentity
from radialbench.records.measurement import Accuracy, Measurement, Memory
from radialbench.records.problem import KernelConfig, Problem
from radialbench.records.result import SCHEMA, Environment, Record, Status, TableStats

ENVIRONMENT = Environment(
    device="cpu",
    cpu="Example 3000",
    cores=2,
    threads=2,
    memory_bytes=8 << 30,
    os="Linux 6.1",
    python="3.11.9",
    versions={"torch": "2.13.0", "numpy": "2.3.5"},
    commit="0123abc",
    command="radialbench run smoke",
)

RECORD = Record(
    schema=SCHEMA,
    suite="smoke",
    case="radial/3x30x52/h1d128f32/cpu",
    measure="attention",
    mask=MaskIdentity("radial", "f00d"),
    model=None,
    problem=Problem("f00d", TokenGrid(3, 30, 52), 1, 1, 128, "float32"),
    backend="cpu",
    config=KernelConfig(),
    config_source="suite",
    table=TableStats(100, 0.25, 0.5, 3, 4, 2, 1000, 51200, 60000, 1.5),
    status=Status.OK,
    reason=None,
    accuracy=Accuracy(1e-6, 1e-7, 2e-6, 1e-4, 1024, 4680, "float32 definition"),
    timing=Measurement((3.0, 1.0, 2.0), 1, "warm", "perf_counter", None),
    permute_ms=0.5,
    plan_ms=0.25,
    memory=Memory(1 << 20, "peak resident set"),
    environment=ENVIRONMENT,
    created="2026-01-02T03:04:05+00:00",
)


def failed(**changes: Any) -> Record:
    """The same case, failed."""
    return replace(
        RECORD,
        **{"status": Status.FAILED, "reason": "it broke", "accuracy": None, "timing": None}
        | changes,
    )
