"""`radialbench check`: whether results are worse than a baseline's."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from radialbench.reports.check.checked import Checked
    from radialbench.reports.check.formats import Render


def check(
    current: Annotated[
        Path | None, typer.Argument(help="A run's folder, or its results.jsonl.")
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(help="Results to compare with: a run's folder, or a file of results."),
    ] = None,
    offline: Annotated[
        str | None,
        typer.Option(
            metavar="SUITE", help="Without a GPU: compile a suite's kernels, and compare those."
        ),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --offline: write what there is, as a baseline."),
    ] = None,
    gate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=SIZE", help="The least change that counts, as latency=5%; repeatable."
        ),
    ] = None,
    gates: Annotated[Path | None, typer.Option(help="A YAML file of gates.")] = None,
    run_noise: Annotated[
        float,
        typer.Option(
            min=0, max=50, help="Percent that two runs of the same code are known to differ by."
        ),
    ] = 0.0,
    across_versions: Annotated[
        bool, typer.Option("--across-versions", help="Let libraries and systems differ.")
    ] = False,
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
    """Give a verdict for every case and metric, against a baseline.

    Exits with 0 if nothing is worse, 1 if something is, 2 on bad input or missing cases, 3 if the
    samples cannot tell.
    """
    from radialbench.errors import ReportError

    if offline is not None:
        from radialbench.cli._check_offline import check_offline

        if current is not None or gate or gates or out or run_noise or across_versions:
            raise ReportError(
                "an offline check takes --baseline, --write, --allow-missing and --format: it "
                "compares a suite's kernels and masks exactly, and no results"
            )
        code = check_offline(
            offline, baseline=baseline, write=write, format=format, allow_missing=allow_missing
        )
        raise typer.Exit(code)
    if write is not None:
        raise ReportError("--write is for an offline check: name its suite with --offline SUITE")
    if current is None or baseline is None:
        raise ReportError(
            "a check needs results and what to compare them with: "
            "radialbench check results/now --baseline results/before"
        )
    from radialbench.cli import BAD_INPUT
    from radialbench.cli._console import fail
    from radialbench.cli._whole_results import whole_results
    from radialbench.reports.check.checked import checked
    from radialbench.reports.check.formats import load_check_format
    from radialbench.reports.check.gates import NONE, read_gates, set_gates
    from radialbench.reports.check.verdict import Outcome, exit_code

    render = load_check_format(format)
    files = _files(out or [], keep=(current, baseline))
    chosen = set_gates(read_gates(gates) if gates else NONE, gate or [])
    found = checked(
        whole_results(current),
        whole_results(baseline),
        chosen,
        across_versions=across_versions,
        runs=run_noise / 100,
    )
    _write(found, files)
    typer.echo(render(found), nl=False)
    code = exit_code(found.verdicts, allow_missing=allow_missing)
    if code == BAD_INPUT:
        gone = sum(one.outcome is Outcome.MISSING for one in found.verdicts)
        fail(
            f"{gone} cases of the baseline are missing in {current}: measure them, or say that "
            "they may be gone with --allow-missing",
            BAD_INPUT,
        )
    raise typer.Exit(code)


def _files(settings: list[str], keep: tuple[Path, ...]) -> "dict[Path, Render]":
    """Read `--out`: which form goes to which file, none of them one of the results."""
    from radialbench.errors import ReportError
    from radialbench.records.store import RESULTS
    from radialbench.reports.check.formats import load_check_format

    kept = {each.resolve() for path in keep for each in (path, path / RESULTS)}
    files = {}
    for setting in settings:
        form, equals, name = setting.partition("=")
        if not equals or not name:
            raise ReportError(
                f"--out takes a form and a file, such as junit=check.xml, got {setting[:80]!r}"
            )
        if Path(name).resolve() in kept:
            raise ReportError(f"{name} holds the results; choose another file with --out")
        files[Path(name)] = load_check_format(form)
    return files


def _write(found: "Checked", files: "dict[Path, Render]") -> None:
    """Write the forms: nothing is replaced before all of them are on the disk."""
    from contextlib import suppress
    from errno import EISDIR

    from radialbench.errors import ReportError

    parts = {path: path.with_name(f"{path.name}.part") for path in files}
    path = Path()
    try:
        for path, render in files.items():
            if path.is_dir():
                raise IsADirectoryError(EISDIR, "it is a folder")
            parts[path].write_text(render(found), encoding="utf-8")
        for path, part in parts.items():
            part.replace(path)
    except OSError as error:
        for part in parts.values():
            with suppress(OSError):
                part.unlink()
        raise ReportError(
            f"cannot write {path}: {error.strerror or error}; choose another file with --out"
        ) from None
