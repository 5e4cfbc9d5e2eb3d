"""A tuning record like those a search writes, for tests to vary."""

from dataclasses import fields, replace
from typing import Any

from radialbench.maskgen.identity import MaskIdentity
from radialbench.records.problem import KernelConfig
from radialbench.records.statistics import Estimate
from radialbench.records.tuning import SCHEMA, Outcomes, TuningKey, TuningRecord

KEY = TuningKey(
    backend="triton",
    device="Example GPU",
    mask_fingerprint="f00d",
    frames=21,
    tokens_per_frame=1560,
    seq_len=32760,
    batch=1,
    heads=12,
    head_dim=128,
    dtype="bfloat16",
)

TUNED = TuningRecord(
    schema=SCHEMA,
    key=KEY,
    mask=MaskIdentity("radial", "f00d"),
    config=KernelConfig(128, 64, 8, 3),
    default=KernelConfig(128, 128, 8, 2),
    source="tuned",
    ms=Estimate(8.0, 7.9, 8.1),
    default_ms=Estimate(10.0, 9.9, 10.1),
    ratio=Estimate(1.25, 1.24, 1.26),
    trials=Outcomes(rejected=3, wrong=1, ok=20),
    sampler="tpe",
    seed=0,
    edges=("num_stages",),
    kernel="abc",
    versions={"triton": "3.7.1", "torch": "2.13.0"},
    created="2026-01-02T03:04:05+00:00",
)


def tuned(**changes: Any) -> TuningRecord:
    """The same record with other fields, or of another key; `label` is the mask's name."""
    names = {field.name for field in fields(TuningKey)}
    label = changes.pop("label", TUNED.mask.name)
    key = replace(KEY, **{name: changes.pop(name) for name in names & changes.keys()})
    mask = MaskIdentity(label, key.mask_fingerprint)
    given: dict[str, Any] = {"key": key, "mask": mask} | changes
    return replace(TUNED, **given)


def kept(**changes: Any) -> TuningRecord:
    """A record that says that nothing beat the default."""
    same = {"source": "default", "config": TUNED.default, "ratio": Estimate(1.0, 0.99, 1.01)}
    return tuned(**same | changes)
