"""`radialbench check`: whether a version, or its results, are worse than another's."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radialbench.commands import BAD_INPUT
from radialbench.commands.console import at_width, errors, fail, note, note_if_busy
from radialbench.commands.options import (
    AcrossMachines,
    AcrossVersions,
    Gate,
    Gates,
    NoiseFloor,
    checker,
)
from radialbench.commands.progress import watch_work
from radialbench.errors import ReportError, SuiteError
from radialbench.plain import utf8
from radialbench.writing import is_output, write_files

if TYPE_CHECKING:
    from radialbench.reports.check.verdict import CheckResult
    from radialbench.suites.schema import SuiteSpec
    from radialbench.suites.versus import Version

CompareFiles = Callable[..., "CheckResult"]
"""Compares a folder of results with another one's, measured in turn or not."""


def check(
    given: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RESULTS|SUITE",
            help="A run's folder, or its results.jsonl; with --against a suite, with --offline "
            "suites.",
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(help="Results to compare with: a run's folder, or a file of results."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="GIT_REF", help="Measure a suite with this version and with another commit's."
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1, max=100, help="With --against: processes of each version.", show_default="4"
        ),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="With --against: where the results of both are kept.",
            show_default="results/SUITE-against-REF",
        ),
    ] = None,
    skip_unchanged: Annotated[
        bool,
        typer.Option(
            "--skip-unchanged",
            help="With --against: do not time kernels whose machine code is the same.",
        ),
    ] = False,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline", help="Without a GPU: compile the kernels of suites, and compare those."
        ),
    ] = False,
    write: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --offline: write a baseline; of several suites, to a folder.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="With --offline: fail if any figure changed.")
    ] = False,
    gate: Gate = None,
    gates: Gates = None,
    noise_floor: NoiseFloor = None,
    across_versions: AcrossVersions = False,
    across_machines: AcrossMachines = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Allow cases of the baseline to be missing.")
    ] = False,
    format: Annotated[
        str, typer.Option(help="Print terminal, markdown, github, junit, sarif, bencher or json.")
    ] = "terminal",
    out: Annotated[
        list[str] | None,
        typer.Option(
            *("--out", "-o"),
            metavar="FORMAT=FILE",
            help="Write a format to a file, or - for standard output; repeatable.",
        ),
    ] = None,
) -> None:
    """Report a verdict for every case and metric, against a baseline or another version.

    Exits with 0 if nothing is worse, 1 if something is, 2 on bad input or missing cases, 3 if the
    samples do not decide.
    """
    of_results: dict[str, object] = {"--gate": gate, "--gates": gates, "--noise-floor": noise_floor}
    of_results |= {"--across-versions": across_versions, "--across-machines": across_machines}
    of_against = {"--rounds": rounds, "--results": results, "--skip-unchanged": skip_unchanged}
    of_offline = {"--write": write, "--strict": strict}
    if offline:
        _refuse("an offline check", {"--against": against, **of_against, **of_results})
        code = _check_offline(
            _named(given, "suites", "check --offline smoke_gpu", one=False),
            baseline,
            write,
            (format, out or []),
            allow_missing=allow_missing,
            strict=strict,
        )
        raise typer.Exit(code)
    from radialbench.reports.check.verdict import mark_unrepeated
    from radialbench.reports.formats import load_check_format
    from radialbench.reports.summary import whole_results

    load_check_format(format)
    across = {"across_versions": across_versions, "across_machines": across_machines}
    compare = checker(gate, gates, noise_floor, **across)

    def compare_files(current: Path, baseline: Path, *, in_turn: bool) -> "CheckResult":
        (now, records), (before, earlier) = whole_results(current), whole_results(baseline)
        how = {"in_turn": in_turn, "allow_missing": allow_missing}
        return compare(records, earlier, source=now, baseline_source=before, **how)

    if against is not None:
        _refuse("a check against a commit", {"--baseline": baseline, **of_offline})
        (suite,) = _named(given, "a suite", "check smoke_gpu --against main", one=True)
        files = _output_files(out or [], keep=())
        result = _check_against(suite, against, compare_files, results, rounds, skip_unchanged)
    else:
        _refuse("a check of results", {**of_against, **of_offline})
        example = "check results/now --baseline results/before"
        current = Path(*_named(given, "results", example, one=True))
        if baseline is None:
            raise _missing("results and what to compare them with", example)
        files = _output_files(out or [], keep=(current, baseline))
        with watch_work(errors, "comparing"):
            result = mark_unrepeated(compare_files(current, baseline, in_turn=False))
    _write_files({path: load_check_format(name)(result) for path, name in files.items()})
    text = at_width(format, load_check_format(format))(result)
    typer.echo(text, nl=False, err=any(map(is_output, files)))
    raise typer.Exit(_exit_code(result, allow_missing=allow_missing))


def _exit_code(result: "CheckResult", *, allow_missing: bool) -> int:
    from radialbench.reports.check.verdict import Outcome, exit_code

    code = exit_code(result.verdicts, allow_missing=allow_missing)
    if code == BAD_INPUT:
        missing = [one for one in result.verdicts if one.outcome is Outcome.MISSING]
        cases = sum(one.metric == "status" for one in missing)
        counts = {"cases": cases, "metrics": len(missing) - cases}
        gone = " and ".join(f"{count} {name}" for name, count in counts.items() if count)
        fail(
            f"{gone} of the baseline are missing in {result.source}: measure them, or allow that "
            "with --allow-missing",
            BAD_INPUT,
        )
    return code


def _refuse(what: str, options: Mapping[str, object]) -> None:
    """Refuse options that are for another kind of check."""
    from radialbench.reports.text import join_and

    if given := [name for name, value in options.items() if value]:
        raise ReportError(
            f"{what} does not take {join_and(given)}; see which options go together with "
            "radialbench check --help"
        )


def _named(given: Sequence[str] | None, what: str, example: str, *, one: bool) -> Sequence[str]:
    """Return what was named, or refuse nothing, and several where there must be one."""
    from radialbench.reports.text import join_and

    if given and one and len(given) > 1:
        raise ReportError(
            f"this check takes {what} once, got {join_and(given)}; what to compare with is an "
            f"option: radialbench {example}"
        )
    if not given:
        raise _missing(what, example)
    return given


def _missing(what: str, example: str) -> ReportError:
    return ReportError(f"this check needs {what}: radialbench {example}")


def _output_files(settings: Iterable[str], keep: Iterable[Path]) -> dict[Path, str]:
    """Parse `--out` to the format of each file.

    Raises:
        ReportError: A setting is none, or its file is one to keep or cannot be written.
    """
    from radialbench.records.store import RESULTS
    from radialbench.reports.formats import load_check_format

    kept = {each.resolve() for path in keep for each in (path, path / RESULTS)}
    files = {}
    for setting in settings:
        format, equals, name = setting.partition("=")
        if not equals or not name:
            raise ReportError(
                f"--out takes a format and a file, such as junit=check.xml, got {setting[:80]!r}"
            )
        if Path(name).resolve() in kept:
            raise ReportError(f"{name} holds the results; choose another file with --out")
        load_check_format(format)
        _check_writable(Path(name), " with --out")
        files[Path(name)] = format
    return files


def _check_writable(path: Path, option: str = "") -> None:
    if path.is_dir() or not path.parent.is_dir():
        raise ReportError(f"cannot write {path}: give a file in a folder that exists{option}")


def _write_files(texts: Mapping[Path, str]) -> None:
    """Write texts to files; no file is replaced before all texts are on the disk.

    Raises:
        ReportError: One cannot be written.
    """
    try:
        write_files({path: utf8(text).encode() for path, text in texts.items()})
    except OSError as error:
        raise ReportError(
            f"cannot write {error.filename}: {error.strerror or error}; choose another file with "
            "--out"
        ) from None


def _check_against(
    suite: str,
    ref: str,
    compare: CompareFiles,
    results: Path | None,
    rounds: int | None,
    skip_unchanged: bool,
) -> "CheckResult":
    """Measure a suite with this version and a commit's in turn, suspects twice, and compare."""
    from radialbench.reports.check import verdict
    from radialbench.suites.plan import plan
    from radialbench.suites.read import load_suite, suite_path
    from radialbench.suites.versus import checked_out, this_version
    from radialbench.suites.versus.rounds import BEFORE, NOW, ROUNDS, measure_rounds

    spec = load_suite(suite)
    cases = plan(spec)
    name = re.sub(r"[^\w.-]+", "-", ref)
    folder = results or Path("results") / f"{spec.name}-against-{name}"
    if folder.exists() and any(folder.iterdir()):
        raise ReportError(f"{folder} is not empty; choose another folder with --results")
    note_if_busy()
    what = f"measuring {spec.name} with this version and {ref}"
    with checked_out(ref) as before, watch_work(errors, what):
        folder.mkdir(parents=True, exist_ok=True)
        versions = {BEFORE: before, NOW: this_version()}
        path = suite_path(suite).resolve()
        same = _unchanged(path, versions) if skip_unchanged else frozenset()

        def measure(ids: Iterable[str], out: Path, rounds: int) -> "CheckResult":
            wanted = frozenset(ids)
            part = [case for case in cases if case.id in wanted]
            measure_rounds(path, part, versions, out, rounds=rounds, on_round=note)
            return compare(out / NOW, out / BEFORE, in_turn=True)

        left = [case.id for case in cases if case.id not in same]
        first = rounds or ROUNDS
        result = verdict.CheckResult(spec.name, before.name, ())
        if left:
            result = measure(left, folder, first)
        if verdict.suspects(result.verdicts):
            repeated = verdict.cases_to_repeat(result.verdicts, left)
            note(f"suspected and measured again: {', '.join(sorted(repeated))}")
            again: tuple[verdict.Verdict, ...] = ()
            if repeated:
                count = verdict.TIMES_AGAIN * first
                again = measure(repeated, folder / "again", count).verdicts
            result = verdict.merge_repeated(result, again)
    return replace(result, verdicts=(*result.verdicts, *verdict.passed_unchanged(same)))


def _unchanged(suite: Path, versions: "Mapping[str, Version]") -> frozenset[str]:
    """Return the cases that both versions compile to the same; none if that is not known."""
    from radialbench.suites.versus.machine_code import FactsError, unchanged

    try:
        same = unchanged(suite, versions.values())
    except FactsError as error:
        note(f"{error}; everything is timed")
        return frozenset()
    note(f"cases with unchanged machine code, which are not timed: {len(same)}")
    return same


def _check_offline(
    suites: Sequence[str],
    baseline: Path | None,
    write: Path | None,
    outputs: tuple[str, Sequence[str]],
    *,
    allow_missing: bool,
    strict: bool,
) -> int:
    """Compile suites, print the figures or what changed, and return the exit code.

    Args:
        suites: Shipped suites, or YAML files.
        baseline: A file that an earlier check wrote, or a folder of them; None to show figures.
        write: Where to write the figures: a file, or a folder for a file a suite.
        outputs: The format that is printed, and what is written as `FORMAT=FILE`.
        allow_missing: Whether rows of the baseline may be missing.
        strict: Whether a figure that changed fails, too.
    """
    from radialbench.records.offline import read_offline, write_offline
    from radialbench.reports import offline_text
    from radialbench.reports.offline_diff import compare_offline, offline_exit_code
    from radialbench.reports.text import join_and, terminal_width

    # Files are checked first: compiling takes minutes.
    format, out = outputs
    specs = _load_suites(suites)
    targets, bases = _offline_files(write, specs), _offline_files(baseline, specs)
    for target in targets.values():
        if target.resolve() in {path.resolve() for path in bases.values()}:
            raise ReportError(
                f"{target} is the baseline, and would hide what changed; write another file, or "
                "leave --baseline out"
            )
        _check_writable(target)
    files = _output_files(out, keep=(*targets.values(), *bases.values()))
    for name in (format, *files.values()):
        offline_text.check_offline_format(name, compared=baseline is not None)
    before = {name: read_offline(path) for name, path in bases.items()}
    with watch_work(errors, f"compiling the kernels and masks of {join_and(specs)}") as on_share:
        # Imported here: they take longer than a terminal should be empty.
        from radialbench.suites.offline import offline
        from radialbench.suites.plan import plan

        cases = {name: plan(spec) for name, spec in specs.items()}
        found = offline(cases, on_share=on_share)
    checked = []
    for now in found:
        name = now.head.suite
        verdicts = compare_offline(before[name], now) if name in before else None
        checked.append(offline_text.OfflineChecked(now, verdicts, str(bases.get(name, "")), strict))
    for one in checked:
        if targets:
            write_offline(targets[one.now.head.suite], one.now)
    _write_files({path: offline_text.render_offline(name, checked) for path, name in files.items()})
    printed = (*targets.values(), *files)
    text = offline_text.render_offline(format, checked, width=terminal_width())
    typer.echo(text, nl=False, err=any(map(is_output, printed)))
    every = [verdict for one in checked for verdict in one.verdicts or ()]
    return offline_exit_code(every, allow_missing=allow_missing, strict=strict)


def _load_suites(suites: Sequence[str]) -> "dict[str, SuiteSpec]":
    from radialbench.suites.read import load_suite

    specs: dict[str, Any] = {}
    for suite in suites:
        spec = load_suite(suite)
        if spec.name in specs:
            raise SuiteError(f"{suite}: another suite is named {spec.name} too; leave one out")
        specs[spec.name] = spec
    return specs


def _offline_files(path: Path | None, suites: Iterable[str]) -> dict[str, Path]:
    """Return each suite's file: the given one, or one in the given folder."""
    names = tuple(suites)
    if path is None:
        return {}
    if path.is_dir():
        return {name: path / f"{name}.offline.jsonl" for name in names}
    if len(names) > 1:
        raise ReportError(
            f"there is no folder {path}; {len(names)} suites have a file each, so give the folder "
            "of the files"
        )
    return {names[0]: path}
