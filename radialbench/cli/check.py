"""`radialbench check`: whether a version, or its results, are worse than another's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from radialbench.cli._options import AcrossVersions, Gate, Gates, NoiseFloor

if TYPE_CHECKING:
    from radialbench.errors import ReportError
    from radialbench.reports.check.verdict import CheckResult


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
            help="With --offline: write what there is, as a baseline; of several suites, to a "
            "folder.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="With --offline: let any figure that changed fail.")
    ] = False,
    gate: Gate = None,
    gates: Gates = None,
    noise_floor: NoiseFloor = None,
    across_versions: AcrossVersions = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Let cases of the baseline be gone.")
    ] = False,
    format: Annotated[
        str,
        typer.Option(
            "--format", help="Print terminal, markdown, github, junit, sarif, bencher or json."
        ),
    ] = "terminal",
    out: Annotated[
        list[str] | None,
        typer.Option(
            *("--out", "-o"), metavar="FORMAT=FILE", help="Write a form to a file; repeatable."
        ),
    ] = None,
) -> None:
    """Give a verdict for every case and metric, against a baseline or another version.

    Exits with 0 if nothing is worse, 1 if something is, 2 on bad input or missing cases, 3 if the
    samples cannot tell.
    """
    of_results: dict[str, object] = {"--gate": gate, "--gates": gates, "--noise-floor": noise_floor}
    of_results |= {"--across-versions": across_versions}
    of_against = {"--rounds": rounds, "--results": results, "--skip-unchanged": skip_unchanged}
    of_offline = {"--write": write, "--strict": strict}
    if offline:
        from radialbench.cli._check_offline import check_offline

        _refuse("an offline check", {"--against": against, **of_against, **of_results})
        code = check_offline(
            _given(given, what="suites", example="check --offline smoke_gpu"),
            baseline=baseline,
            write=write,
            format=format,
            out=out or [],
            allow_missing=allow_missing,
            strict=strict,
        )
        raise typer.Exit(code)
    from radialbench.cli._check_again import mark_unrepeated
    from radialbench.cli._check_files import files_of, write_files
    from radialbench.cli._console import at_width
    from radialbench.cli._judge import judge_of
    from radialbench.reports.formats import load_check_format
    from radialbench.reports.summary import whole_results

    load_check_format(format)
    judge = judge_of(gate, gates, noise_floor, across_versions)

    def judge_files(current: Path, baseline: Path) -> "CheckResult":
        (now, records), (before, earlier) = whole_results(current), whole_results(baseline)
        return judge(records, earlier, source=now, baseline_source=before)

    if against is not None:
        from radialbench.cli._check_against import check_against

        _refuse("a check against a commit", {"--baseline": baseline, **of_offline})
        suite = _one(given, what="a suite", example="check smoke_gpu --against main")
        files = files_of(out or [], keep=())
        found = check_against(
            suite,
            against,
            judge=judge_files,
            results=results,
            rounds=rounds,
            skip_unchanged=skip_unchanged,
        )
    else:
        _refuse("a check of results", {**of_against, **of_offline})
        example = "check results/now --baseline results/before"
        current = Path(_one(given, what="results", example=example))
        if baseline is None:
            raise _lacking("results and what to compare them with", example)
        files = files_of(out or [], keep=(current, baseline))
        found = mark_unrepeated(judge_files(current, baseline))
    write_files({path: load_check_format(form)(found) for path, form in files.items()})
    typer.echo(at_width(format, load_check_format(format))(found), nl=False)
    raise typer.Exit(_exit_code(found, allow_missing=allow_missing))


def _exit_code(found: "CheckResult", *, allow_missing: bool) -> int:
    from radialbench.cli import BAD_INPUT
    from radialbench.cli._console import fail
    from radialbench.reports.check.verdict import Outcome, exit_code

    code = exit_code(found.verdicts, allow_missing=allow_missing)
    if code == BAD_INPUT:
        gone = sum(one.outcome is Outcome.MISSING for one in found.verdicts)
        fail(
            f"{gone} cases of the baseline are missing in {found.source}: measure them, or say "
            "that they may be gone with --allow-missing",
            BAD_INPUT,
        )
    return code


def _refuse(what: str, options: Mapping[str, object]) -> None:
    """Refuse options that are for another kind of check."""
    from radialbench.errors import ReportError
    from radialbench.reports.text import join_and

    if given := [name for name, value in options.items() if value]:
        raise ReportError(
            f"{what} does not take {join_and(given)}; see which options go together with "
            "radialbench check --help"
        )


def _given(given: Sequence[str] | None, *, what: str, example: str) -> Sequence[str]:
    if not given:
        raise _lacking(what, example)
    return given


def _one(given: Sequence[str] | None, *, what: str, example: str) -> str:
    first, *more = _given(given, what=what, example=example)
    if more:
        raise _lacking(f"{what} and no more", example)
    return first


def _lacking(what: str, example: str) -> "ReportError":
    from radialbench.errors import ReportError

    return ReportError(f"such a check needs {what}: radialbench {example}")
