"""`radialbench check --offline`: a suite's kernels and masks, compared exactly, without a GPU."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from radialbench.records.offline import Offline, OfflineRow
    from radialbench.reports.offline import OfflineVerdict


def check_offline(
    suite: str,
    *,
    baseline: Path | None,
    write: Path | None,
    format: str,
    allow_missing: bool = False,
) -> int:
    """Compile a suite, print what there is or what changed, and give the exit code.

    Args:
        suite: A shipped suite, or a YAML file.
        baseline: What an earlier check wrote; None to show what there is.
        write: Where to write what there is.
        format: `terminal`, `markdown` or `json`.
        allow_missing: Whether rows of the baseline may be gone.
    """
    from radialbench.errors import ReportError, unknown
    from radialbench.records.offline import read_offline, write_offline
    from radialbench.reports.offline import compare_offline, offline_exit_code
    from radialbench.suites.offline import offline
    from radialbench.suites.plan import plan
    from radialbench.suites.read import load_suite

    if format not in PRINTS:
        raise ReportError(unknown("form of an offline check", format, PRINTS))
    # What is wrong with the files is told before minutes are spent.
    if write is not None:
        _check_place(write, baseline)
    before = None if baseline is None else read_offline(baseline)
    spec = load_suite(suite)
    now = offline(spec.name, plan(spec))
    verdicts = None if before is None else compare_offline(before, now)
    if write is not None:
        write_offline(write, now)
    PRINTS[format](now, verdicts)
    return 0 if verdicts is None else offline_exit_code(verdicts, allow_missing=allow_missing)


def _check_place(write: Path, baseline: Path | None) -> None:
    from radialbench.errors import ReportError

    if baseline is not None and write.resolve() == baseline.resolve():
        raise ReportError(
            f"{write} is the baseline, and would hide what changed; write another file, or leave "
            "--baseline out"
        )
    if write.is_dir() or not write.parent.is_dir():
        raise ReportError(f"cannot write {write}: give a file in a folder that is there")


def _print_json(now: "Offline", verdicts: "tuple[OfflineVerdict, ...] | None") -> None:
    from dataclasses import asdict

    from radialbench.cli._console import print_json

    facts: dict[str, Any] = asdict(now.head)
    if verdicts is None:
        facts["rows"] = [asdict(row) for row in now.rows]
    else:
        facts["verdicts"] = [asdict(one) for one in verdicts]
    print_json(facts)


def _print_text(now: "Offline", verdicts: "tuple[OfflineVerdict, ...] | None") -> None:
    from radialbench.cli._console import console

    if verdicts is None:
        lines = [f"{row.kind:<6}  {row.name}: {_facts(row)}" for row in now.rows]
    else:
        told = _told(verdicts)
        width = max((len(one.outcome) for one in told), default=0)
        lines = []
        for one in told:
            lines.append(f"{one.outcome:<{width}}  {one.kind} {one.name}")
            lines.append(f"{'':<{width}}  {one.words}")
    for line in (*lines, _headline(now, verdicts)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _print_markdown(now: "Offline", verdicts: "tuple[OfflineVerdict, ...] | None") -> None:
    from radialbench.cli._console import console

    if verdicts is None:
        lines = ["| row | figures |", "| --- | --- |"]
        lines += [f"| {row.kind} `{row.name}` | {_facts(row)} |" for row in now.rows]
    else:
        lines = ["| outcome | row | what changed |", "| --- | --- | --- |"]
        told = _told(verdicts)
        lines += [f"| {one.outcome} | {one.kind} `{one.name}` | {one.words} |" for one in told]
        lines = lines if told else []
    for line in (f"**{_headline(now, verdicts)}**", "", *lines):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


Print = Callable[["Offline", "tuple[OfflineVerdict, ...] | None"], None]

PRINTS: dict[str, Print] = {
    "terminal": _print_text,
    "markdown": _print_markdown,
    "json": _print_json,
}
"""What prints each form."""


def _told(verdicts: "tuple[OfflineVerdict, ...]") -> "list[OfflineVerdict]":
    return [one for one in verdicts if one.outcome != "pass"]


def _headline(now: "Offline", verdicts: "tuple[OfflineVerdict, ...] | None") -> str:
    from radialbench.reports.offline import counted_outcomes

    if verdicts is not None:
        return f"{now.head.suite}: {counted_outcomes(verdicts)}"
    kernels = [row for row in now.rows if row.kind == "kernel"]
    absent = sum(row.kernel is None for row in kernels)
    words = f"{len(kernels) - absent} kernels, {absent} that do not exist"
    return f"{now.head.suite}: {words}, {len(now.rows) - len(kernels)} masks"


def _facts(row: "OfflineRow") -> str:
    return ", ".join(_facts_of(row)) or row.reason


def _facts_of(row: "OfflineRow") -> Iterator[str]:
    """Give the figures that people ask for first; the file has all."""
    if kernel := row.kernel:
        yield f"{kernel.registers} registers"
        yield f"{kernel.spills} spills"
        yield f"{kernel.shared_bytes:,} bytes shared"
        yield f"code {kernel.code}"
    if mask := row.mask:
        yield f"density {mask.density:.4f}"
        yield f"{mask.full:,} full and {mask.partial:,} partial blocks"
        yield f"{mask.nbytes:,} bytes"
        yield f"{mask.over_ideal:.3f}× an even share"
