"""`radialbench check --offline`: suites' kernels and masks, compared exactly, without a GPU."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from radialbench.suites.schema import SuiteSpec


def check_offline(
    suites: Sequence[str],
    *,
    baseline: Path | None,
    write: Path | None,
    format: str,
    out: Sequence[str],
    allow_missing: bool,
    strict: bool,
) -> int:
    """Compile suites, print what there is or what changed, and give the exit code.

    Args:
        suites: Shipped suites, or YAML files.
        baseline: What an earlier check wrote, a file or a folder of files; None to show what there
            is.
        write: Where to write what there is: a file, or a folder for a file a suite.
        format: What is printed.
        out: What is written besides, each as `FORMAT=FILE`.
        allow_missing: Whether rows of the baseline may be gone.
        strict: Whether a figure that changed fails, too.
    """
    from radialbench.cli._check_files import files_of, write_files
    from radialbench.cli._check_offline_forms import (
        OfflineChecked,
        check_offline_form,
        render_offline,
    )
    from radialbench.records.offline import read_offline, write_offline
    from radialbench.reports.offline_diff import compare_offline, offline_exit_code
    from radialbench.suites.offline import offline
    from radialbench.suites.plan import plan

    # What is wrong with the files is told before minutes are spent.
    specs = _specs(suites)
    places, bases = _files(write, specs), _files(baseline, specs)
    for place in places.values():
        _check_place(place, bases.values())
    files = files_of(out, keep=(*places.values(), *bases.values()))
    for form in (format, *files.values()):
        check_offline_form(form, compared=baseline is not None)
    before = {name: read_offline(path) for name, path in bases.items()}
    found = []
    for now in offline({name: plan(spec) for name, spec in specs.items()}):
        name = now.head.suite
        verdicts = compare_offline(before[name], now) if name in before else None
        found.append(OfflineChecked(now, verdicts, str(bases.get(name, "")), strict))
    for one in found:
        if places:
            write_offline(places[one.now.head.suite], one.now)
    write_files({path: render_offline(form, found) for path, form in files.items()})
    typer.echo(render_offline(format, found), nl=False)
    every = [verdict for one in found for verdict in one.verdicts or ()]
    return offline_exit_code(every, allow_missing=allow_missing, strict=strict)


def _specs(suites: Sequence[str]) -> "dict[str, SuiteSpec]":
    from radialbench.errors import SuiteError
    from radialbench.suites.read import load_suite

    specs: dict[str, SuiteSpec] = {}
    for suite in suites:
        spec = load_suite(suite)
        if spec.name in specs:
            raise SuiteError(f"{suite}: another suite is named {spec.name} too; leave one out")
        specs[spec.name] = spec
    return specs


def _files(path: Path | None, suites: Iterable[str]) -> dict[str, Path]:
    """Give each suite's file: the one that is named, or one of the folder's."""
    from radialbench.errors import ReportError

    names = tuple(suites)
    if path is None:
        return {}
    if path.is_dir():
        return {name: path / f"{name}.offline.jsonl" for name in names}
    if len(names) > 1:
        raise ReportError(
            f"{path} is no folder that is there; {len(names)} suites have a file each, so name the "
            "folder of the files"
        )
    return {names[0]: path}


def _check_place(write: Path, baselines: Iterable[Path]) -> None:
    from radialbench.errors import ReportError

    if write.resolve() in {path.resolve() for path in baselines}:
        raise ReportError(
            f"{write} is the baseline, and would hide what changed; write another file, or leave "
            "--baseline out"
        )
    if write.is_dir() or not write.parent.is_dir():
        raise ReportError(f"cannot write {write}: give a file in a folder that is there")
