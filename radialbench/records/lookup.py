"""nearest_config: the configuration to run a problem with, from tuning records."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import log2

from radialbench.records.problem import KernelConfig, plain_config
from radialbench.records.tuning import TuningKey, TuningRecord

MATCHED = ("backend", "device", "head_dim", "dtype", "direction")
"""Fields that a record must share with a problem."""

FARTHEST = 6.0
"""Distance up to which a configuration is transferred: 64-fold, over all that may differ."""


@dataclass(frozen=True, slots=True)
class ConfigChoice:
    """A configuration, and where it comes from.

    Attributes:
        config: What to run.
        source: `tuned` for this problem, `transferred` from a near one, or `default`.
        record: The record it comes from, if any.
        reason: Why it was chosen.
        stale: Whether the record, or the nearest one where none is used, is of another version of
            the kernel or its compiler.
    """

    config: KernelConfig
    source: str
    record: TuningRecord | None
    reason: str
    stale: bool = False


def always_feasible(config: KernelConfig) -> list[str]:
    """Return no reason against any configuration."""
    return []


def nearest_config(
    records: Iterable[TuningRecord],
    key: TuningKey,
    *,
    default: KernelConfig | None = None,
    feasible: Callable[[KernelConfig], list[str]] = always_feasible,
    kernel: str | None = None,
    versions: Mapping[str, str] | None = None,
    strict: bool = True,
) -> ConfigChoice:
    """Choose the configuration for a problem.

    1. The record of this key: `tuned`.
    2. Else the nearest record of the same backend, device, head dimension, dtype and direction:
       `transferred`. Records of the same mask come before those of others; among these the one with
       the smallest distance: the sum of |log2| of the ratios of tokens per frame, of frames, of
       batch × heads, of query heads per key head and of queries per key, at most `FARTHEST`.
    3. Else, and where the record says that nothing beat the default: `default`.

    Stale records, and those with a configuration that is not feasible, are skipped.

    Args:
        records: The tuning records; of several at one distance the first counts.
        key: The problem.
        default: What to run if no record fits; the backend's own default if not given.
        feasible: Returns why a configuration cannot run this problem; empty if it can.
        kernel: Hash of the kernel's source now; not compared if not given.
        versions: Relevant versions now, by library; not compared if not given.
        strict: Use no stale record. Otherwise one is used if no other fits.
    """
    default = default or plain_config(key.backend)
    ranked = [(rank, r) for r in records if (rank := _rank(r.key, key)) is not None]
    ranked.sort(key=lambda pair: pair[0])
    judged = [(rank, r, r.stale_reasons(kernel, versions or {})) for rank, r in ranked]
    skipped = []
    for rank, record, stale in sorted(judged, key=lambda one: bool(one[2])):
        if stale and strict:
            why = f"is stale, {'; '.join(stale)}: tune again, or ask with strict=False"
        elif reasons := feasible(record.config):
            why = f"cannot run here: {'; '.join(reasons)}"
        else:
            return _choice(record, key, stale, default)
        skipped.append((rank, f"the record of {_of(record, key)} {why}", bool(stale)))
    if skipped:
        _, reason, is_stale = min(skipped, key=lambda one: one[0])
        return ConfigChoice(default, "default", None, reason, is_stale)
    wanted = f"head_dim {key.head_dim}, {key.dtype}, {key.direction}"
    reason = f"nothing near was tuned for {key.backend} on {key.device} with {wanted}"
    return ConfigChoice(default, "default", None, reason)


def distance(tuned: TuningKey, key: TuningKey) -> float:
    """Return the distance of two problems: the sum of |log2| of five ratios."""
    ratios = (
        tuned.tokens_per_frame / key.tokens_per_frame,
        tuned.frames / key.frames,
        tuned.batch * tuned.heads / (key.batch * key.heads),
        tuned.heads * key.key_heads / (tuned.key_heads * key.heads),
        tuned.queries * key.seq_len / (tuned.seq_len * key.queries),
    )
    return sum(abs(log2(ratio)) for ratio in ratios)


def _rank(tuned: TuningKey, key: TuningKey) -> tuple[int, float] | None:
    """Return a sort key, the nearest record first; None if it cannot serve a problem."""
    if tuned == key:
        return 0, 0.0
    if any(getattr(tuned, name) != getattr(key, name) for name in MATCHED):
        return None
    far = distance(tuned, key)
    same = tuned.mask_fingerprint == key.mask_fingerprint
    return (1 if same else 2, far) if far <= FARTHEST else None


def _choice(
    record: TuningRecord, key: TuningKey, stale: list[str], default: KernelConfig
) -> ConfigChoice:
    where = _of(record, key)
    end = f"; stale: {'; '.join(stale)}" if stale else ""
    if record.source == "default":
        reason = f"tuning {where} found nothing faster than the default"
        return ConfigChoice(default, "default", record, reason + end, bool(stale))
    source = "tuned" if record.key == key else "transferred"
    reason = f"tuned for {where}, there {record.ratio.value:.2f} times as fast as the default"
    return ConfigChoice(record.config, source, record, reason + end, bool(stale))


def _of(record: TuningRecord, key: TuningKey) -> str:
    """Describe the problem of a record, relative to another one."""
    tuned = record.key
    if tuned == key:
        return "this problem"
    same = tuned.mask_fingerprint == key.mask_fingerprint
    mask = "this mask" if same else record.mask.label
    heads = tuned.batch * tuned.heads
    plural = "s" * (heads > 1)
    tokens = f"{tuned.frames} × {tuned.tokens_per_frame:,} tokens"
    if tuned.queries != key.queries and tuned.seq_len == key.seq_len:
        tokens += f" with {tuned.queries:,} queries"
    return f"{mask} on {tokens} and {heads} head{plural}"
