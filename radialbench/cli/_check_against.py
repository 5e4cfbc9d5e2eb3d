"""`radialbench check --against`: this version and another one, measured in turn and compared."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from radialbench.reports.check.verdict import CheckResult
    from radialbench.suites.versus import Version

Judge = Callable[[Path, Path], "CheckResult"]
"""Compares a folder of results with another one's."""

UNCHANGED = "unchanged machine code, not timed"


def check_against(
    suite: str,
    ref: str,
    *,
    judge: Judge,
    results: Path | None,
    rounds: int | None,
    skip_unchanged: bool,
) -> "CheckResult":
    """Measure a suite with this version and another one in turn, and give the verdicts.

    Args:
        suite: A shipped suite, or a YAML file.
        ref: A commit of the repository that this version is of.
        judge: What gives the verdicts.
        results: An empty folder for what is measured, or one that is not there; one named after
            suite and commit if not given.
        rounds: Processes of each version for each shape; `ROUNDS` if not given.
        skip_unchanged: Whether to leave out cases whose machine code did not change.
    """
    from radialbench.cli._check_again import cases_again, settled, suspects
    from radialbench.reports.check.verdict import CheckResult, Outcome, Verdict
    from radialbench.suites.plan import plan
    from radialbench.suites.read import load_suite, suite_path
    from radialbench.suites.versus import checked_out, this_version
    from radialbench.suites.versus.rounds import BEFORE, NOW, ROUNDS, measure_rounds

    spec = load_suite(suite)
    cases = plan(spec)
    plain = re.sub(r"[^\w.-]+", "-", ref)
    folder = results or Path("results") / f"{spec.name}-against-{plain}"
    _check_free(folder)
    with checked_out(ref) as before:
        versions = {BEFORE: before, NOW: this_version()}
        path = suite_path(suite).resolve()
        same = _unchanged(path, versions) if skip_unchanged else frozenset()

        def judged(ids: Iterable[str], out: Path) -> "CheckResult":
            wanted = frozenset(ids)
            part = [case for case in cases if case.id in wanted]
            measure_rounds(path, part, versions, out, rounds=rounds or ROUNDS, on_round=_say)
            return judge(out / NOW, out / BEFORE)

        left = [case.id for case in cases if case.id not in same]
        found = judged(left, folder) if left else CheckResult(spec.name, before.name, ())
        if suspects(found.verdicts):
            again = cases_again(found.verdicts, left)
            _say(f"suspected and measured again: {', '.join(sorted(again))}")
            found = settled(found, judged(again, folder / "again").verdicts if again else ())
    passed = (Verdict(case, "status", Outcome.PASS, UNCHANGED) for case in sorted(same))
    return replace(found, verdicts=(*found.verdicts, *passed))


def _check_free(folder: Path) -> None:
    from radialbench.errors import ReportError

    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ReportError(f"{folder} is not empty; choose another folder with --results")


def _unchanged(suite: Path, versions: "Mapping[str, Version]") -> frozenset[str]:
    """Find the cases that both versions compile to the same; none if one cannot tell."""
    from radialbench.suites.versus.machine_code import FactsError, unchanged

    try:
        same = unchanged(suite, versions.values())
    except FactsError as error:
        _say(f"{error}; everything is timed")
        return frozenset()
    _say(f"cases with unchanged machine code, which are not timed: {len(same)}")
    return same


def _say(line: str) -> None:
    from radialbench.cli._console import errors

    errors.print(line, markup=False, highlight=False, soft_wrap=True)
