"""Baselines as files in git, and which of their records may be compared with others."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from radialbench.errors import RecordError, ReportError
from radialbench.plain import utf8
from radialbench.records.codec import to_dict
from radialbench.records.pooling import by_process, pooled
from radialbench.records.problem import Problem
from radialbench.records.result import RETRYABLE, Environment, Record
from radialbench.records.store import numbered_lines, record_of, write_errors
from radialbench.reports.text import join_and, printable
from radialbench.writing import locked, replacement

Key = tuple[str, str, str, str]

PROCESSOR = ("cpu", "cores", "threads")
SYSTEM = ("os", "python", "clocks")
OURS = "radialbench"


@dataclass(frozen=True, slots=True)
class Updated:
    """What became of a baseline.

    Attributes:
        replaced: Records in place of others.
        new: Records of cases that it did not have.
        joined: Of those replaced, how many hold samples of runs before, too.
    """

    replaced: int
    new: int
    joined: int = 0


def update(path: Path, current: Iterable[Record], *, reason: str, runs: int = 1) -> Updated:
    """Put records into a baseline, in place of those of the same case and device.

    Each line is a record with one more key, `baseline`, that holds the reason. The file is created
    if it does not exist, sorted, so that a difference in git shows the cases that changed, and
    replaced whole or not at all; updates at the same time wait for each other.

    Args:
        path: The baseline.
        current: The new records; the last of a case counts.
        reason: Why, for those who read it later.
        runs: Processes whose samples a record holds at most. With more than one, those of the case
            stay that were measured on the same machine with the same versions and settings, the
            oldest of too many excepted; other changes of ours are what a reason is for.

    Raises:
        ReportError: The reason is empty, a case did not go well, or the baseline cannot be read or
            written.
    """
    if not reason.strip():
        raise ReportError("a baseline is updated for a reason: say it with --reason")
    latest = {_key(record): record for record in current}
    for record in latest.values():
        if record.status in RETRYABLE:
            raise ReportError(
                f"{printable(record.case)} is {record.status}: in a baseline it would let the same "
                "fault pass. Measure it again, or leave it out"
            )
    with write_errors(path, "choose another file with --out", ReportError), locked(path):
        lines = _lines(path) if path.is_file() else {}
        again, joined = lines.keys() & latest.keys(), 0
        for key in again if runs > 1 else ():
            before, now = record_of(lines[key]), latest[key]
            if _is_same_cohort(before, now):
                parts = [*by_process(before), *by_process(now)]
                # Counters are sums over processes, which nothing takes apart: those of the new run.
                latest[key] = replace(pooled(parts[-runs:]), telemetry=now.telemetry)
                joined += 1
        lines |= {key: _line(record, reason.strip()) for key, record in latest.items()}
        with replacement(path) as file:
            file.writelines(lines[key] for key in sorted(lines))
    return Updated(len(again), len(latest) - len(again), joined)


def _is_same_cohort(before: Record, now: Record) -> bool:
    """Return whether two records' samples are of one thing, as far as they tell."""
    old, new = before.environment, now.environment
    settings = [*version_diff(old, new), *_fields(old, new, PROCESSOR)]
    timed = before.timing is not None and now.timing is not None
    same = before.config == now.config and before.mask.fingerprint == now.mask.fingerprint
    return timed and same and not settings and not mismatch_reason(before, now)


def same_devices(baseline: Sequence[Record], current: Iterable[Record]) -> list[Record]:
    """Return a baseline's records of the devices of others; all, if it has none of those."""
    devices = {_device(record) for record in current}
    return [one for one in baseline if _device(one) in devices] or list(baseline)


def environment_diff(
    pairs: Iterable[tuple[Record, Record]],
    *,
    across_versions: bool = False,
    across_machines: bool = False,
) -> tuple[str, ...]:
    """Describe what differs between the environments of pairs of records: before, and now.

    Our own version and commit may differ: a check compares them. So may the GPU, if it is of the
    same kind.

    Raises:
        ReportError: Device or processor differ without `across_machines`, or libraries and system
            differ without `across_versions`.
    """
    # Equal environments once, in order.
    environments = {(old.environment, new.environment): None for old, new in pairs}
    machines: dict[str, None] = {}
    versions: dict[str, None] = {}
    ours: dict[str, None] = {}
    for old, new in environments:
        fixed = _machine(old)
        machines |= dict.fromkeys(_fields(old, new, fixed))
        others = [name for name in (*SYSTEM, *PROCESSOR) if name not in fixed]
        versions |= dict.fromkeys([*_fields(old, new, others), *_versions(old, new)])
        ours |= dict.fromkeys([*_versions(old, new, ours=True), *_fields(old, new, ["commit"])])
        ours |= dict.fromkeys(_cards(old, new))
    if machines and not across_machines:
        raise ReportError(
            f"the baseline is of another machine ({printable('; '.join(machines))}), and times of "
            "two machines are not compared. Measure a baseline on this one, or compare all but "
            "times with radialbench check --across-machines"
        )
    if versions and not across_versions:
        raise ReportError(
            f"the baseline is of another environment ({printable('; '.join(versions))}). "
            "Measure it again in this one, or compare them as they are with --across-versions"
        )
    return tuple(map(printable, (*machines, *versions, *ours)))


def another_machine(old: Record, new: Record) -> str:
    """Return how the machines of two records differ, so that times cannot be compared; or empty."""
    return "; ".join(_fields(old.environment, new.environment, _machine(old.environment)))


def _machine(environment: Environment) -> tuple[str, ...]:
    # A GPU's times do not depend on the processor beside it.
    return ("device", *PROCESSOR) if environment.device == "cpu" else ("device",)


def machine_of(environment: Environment) -> str:
    """Return the name of a machine whose times are not compared with those of others."""
    if environment.device != "cpu":
        return environment.device
    return f"{environment.cpu}, {environment.cores} cores, {environment.threads} threads"


def version_diff(old: Environment, new: Environment) -> list[str]:
    """Return how system and libraries differ, ours excepted, by `torch: 2.13 and 2.14`."""
    return [*_fields(old, new, SYSTEM), *_versions(old, new)]


def mismatch_reason(old: Record, new: Record) -> str:
    """Return why two records of a case are not compared; empty if they are."""
    # 1/√head_dim, given or not, is the same scale.
    names = ["scale" if each.name == "sm_scale" else each.name for each in fields(Problem)]
    one, other = old.problem, new.problem
    changed = [name for name in names if getattr(one, name) != getattr(other, name)]
    if changed:
        return f"another problem than in the baseline: its {join_and(changed)} changed"
    if old.measure == "compile" and _fields(old.environment, new.environment, PROCESSOR):
        return "tables were compiled on another processor"
    if old.timing and new.timing and (protocol := old.timing.protocol_diff(new.timing)):
        return f"measured differently ({printable('; '.join(protocol))})"
    return ""


def config_diffs(pairs: Iterable[tuple[Record, Record]]) -> dict[str, tuple[str, ...]]:
    """Return the cases with another configuration of the kernel, by `block_n: 128 and 64`."""
    cases: dict[str, tuple[str, ...]] = {}
    for old, new in pairs:
        names = [each.name for each in fields(old.config)]
        if text := printable(", ".join(_fields(old.config, new.config, names))):
            cases[text] = (*cases.get(text, ()), new.case)
    return cases


def _device(record: Record) -> tuple[str, str]:
    return record.environment.device, record.environment.processor


def _key(record: Record) -> Key:
    return (*_device(record), record.measure, record.case)


def _lines(path: Path) -> dict[Key, bytes]:
    """Read the lines as they are, with their reasons."""
    records: dict[Key, bytes] = {}
    try:
        lines = numbered_lines(path)
    except RecordError as error:
        raise ReportError(str(error)) from None
    for number, line in lines:
        try:
            records[_key(record_of(line))] = line.rstrip(b"\r") + b"\n"
        except RecordError as error:
            raise ReportError(
                f"{path}:{number} is no record: {error}. Take the line out, or choose another file"
            ) from None
    return records


def _line(record: Record, reason: str) -> bytes:
    document = to_dict(record) | {"baseline": {"reason": reason}}
    return utf8(json.dumps(document, allow_nan=False, ensure_ascii=False)).encode() + b"\n"


def _fields(old: object, new: object, names: Iterable[str]) -> list[str]:
    return [
        f"{name}: {getattr(old, name)} and {getattr(new, name)}"
        for name in names
        if getattr(old, name) != getattr(new, name)
    ]


def _cards(old: Environment, new: Environment) -> list[str]:
    if None in (old.card, new.card) or old.card == new.card:
        return []
    return [
        f"card: {old.card} and {new.card}, two GPUs of one kind, whose times may be 1% apart: "
        "see --noise-floor"
    ]


def _versions(old: Environment, new: Environment, *, ours: bool = False) -> list[str]:
    names = sorted(name for name in {*old.versions, *new.versions} if (name == OURS) == ours)
    pairs = (
        (name, old.versions.get(name, "none"), new.versions.get(name, "none")) for name in names
    )
    return [f"{name}: {was} and {now}" for name, was, now in pairs if was != now]
