"""`radialbench suite`: list, show, validate and plan suites."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from radialbench.commands import options
from radialbench.commands.console import (
    console,
    print_json,
    print_paragraph,
    print_table,
    say_whole,
)
from radialbench.commands.options import Filter, Json, Shard, Suite
from radialbench.errors import SuiteError, unknown

app = typer.Typer(help="List, show, validate and plan suites.", no_args_is_help=True)


@app.command("list")
def list_(
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", "-t", help="Only suites with this tag; of several, with all."),
    ] = None,
    json: Json = False,
) -> None:
    """List the shipped suites."""
    from radialbench.suites.plan import plan
    from radialbench.suites.read import load_suite, suite_names

    suites = [load_suite(name) for name in suite_names()]
    known = {name for suite in suites for name in suite.tags}
    for name in tag or ():
        if name not in known:
            raise SuiteError(unknown("tag", name, known))
    suites = [suite for suite in suites if set(tag or ()) <= set(suite.tags)]
    facts: list[dict[str, Any]] = [
        {
            "name": suite.name,
            "cases": len(plan(suite)),
            "tags": list(suite.tags),
            "description": suite.description,
        }
        for suite in suites
    ]
    if json:
        print_json(facts)
        return
    for fact in facts:
        tags = " ".join(fact["tags"])
        line = f"[bold]{fact['name']}[/bold]  {fact['cases']} cases  [dim]{tags}[/dim]"
        console.print(line, highlight=False)
        print_paragraph(fact["description"])


@app.command()
def show(suite: Suite, json: Json = False) -> None:
    """Print a suite's file."""
    from radialbench.suites.read import load_suite, suite_path

    spec = load_suite(suite)
    if not json:
        text = suite_path(suite).read_text(encoding="utf-8")
        say_whole(text.rstrip("\n"))
        return
    matrices = [
        {
            "where": matrix.where,
            "measure": matrix.measure,
            "masks": [mask.id for mask in masks],
            "grids": [grid.id for grid in grids],
            "heads": matrix.heads,
            "kv_heads": matrix.kv_heads,
            "head_dim": matrix.head_dim,
            "batch": matrix.batch,
            "dtype": matrix.dtype,
            "backends": [
                {"name": name, "config": asdict(config), "config_source": source}
                for name, config, source in configs
            ],
            "exclude": [rule.model_dump() for rule in matrix.exclude or ()],
            "protocol": matrix.protocol.model_dump(),
        }
        for matrix in spec.cases
        for grids, masks, configs in [matrix.axes()]
    ]
    facts = {"name": spec.name, "description": spec.description, "tags": list(spec.tags)}
    print_json({**facts, "device": spec.device, "source": spec.source, "cases": matrices})


@app.command()
def validate(suite: Suite, json: Json = False) -> None:
    """Validate a suite without running it; errors have line and column."""
    from radialbench.suites.plan import plan
    from radialbench.suites.read import load_suite

    spec = load_suite(suite)
    count = len(plan(spec))
    if json:
        print_json({"name": spec.name, "source": spec.source, "cases": count})
        return
    console.print(f"{spec.source}: a suite of {count} cases", markup=False, highlight=False)


@app.command()
def schema() -> None:
    """Print the JSON Schema of suite files, for editors."""
    from radialbench.suites.schema import json_schema

    print_json(json_schema())


@app.command()
def plan(
    suite: Suite,
    filter: Filter = None,
    shard: Shard = None,
    frames: options.Frames = None,
    heads: options.Heads = None,
    head_dim: options.HeadDim = None,
    batch: options.Batch = None,
    dtype: options.Dtype = None,
    backend: options.Backends = None,
    settings: options.MaskSettings = None,
    json: Json = False,
) -> None:
    """List the cases of a suite, and where their configurations come from on this machine.

    Axes such as --frames stand in place of the suite's own in all of its cases.
    """
    from radialbench.kernels.measure.environment import likely_device_name
    from radialbench.suites.axes import read_axes
    from radialbench.suites.plan import plan as plan_cases
    from radialbench.suites.plan import tuned
    from radialbench.suites.read import load_suite

    axes = read_axes(
        frames=frames,
        heads=heads,
        head_dim=head_dim,
        batch=batch,
        dtype=dtype,
        backend=backend,
        settings=settings,
    )
    spec = load_suite(suite, axes)
    cases = tuned(plan_cases(spec, filter or (), shard=shard), likely_device_name(spec.device))
    if json:
        facts = [
            {
                "case": case.id,
                "group": case.group,
                "measure": case.measure,
                "mask": case.identity.label,
                "backend": case.backend,
                "seq_len": case.problem.seq_len,
                "heads": case.problem.heads,
                "kv_heads": case.problem.key_heads,
                "head_dim": case.problem.head_dim,
                "dtype": case.problem.dtype,
                "device": case.device,
                "config": asdict(case.config),
                "config_source": case.config_source,
                "config_reason": case.config_reason,
            }
            for case in cases
        ]
        print_json(facts)
        return
    print_table(
        ("tokens", "configuration", "case"),
        [(f"{case.problem.seq_len:,}", case.config_source, case.id) for case in cases],
        text_columns=("configuration", "case"),
        spare=("configuration",),
        whole=("case",),
    )
