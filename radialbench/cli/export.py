"""`radialbench export`: tuned configurations and block tables, as other code reads them."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from radialbench.cli._options import (
    BlockM,
    BlockN,
    EmptyRows,
    Grid,
    Json,
    MaskName,
    ModelName,
    Settings,
    Size,
)


class _Export(TyperGroup):
    """Takes what is no command for the study that `configs` exports."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["configs", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Export,
    no_args_is_help=True,
    help="Export tuned configurations (`export STUDY` is `export configs STUDY`) or block tables.",
)


def _config_formats() -> list[str]:
    from radialbench.autotune.export import CONFIG_FORMATS

    return list(CONFIG_FORMATS)


def _table_formats() -> list[str]:
    from radialbench.maskgen.export import EXPORTERS

    return list(EXPORTERS)


@app.command()
def configs(
    study: Annotated[
        Path | None,
        typer.Argument(
            help="What `radialbench tune` wrote, or an export of it: a file, or a folder of such.",
            show_default="what comes with the package",
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format", help="json, python, t4, triton or vllm.", autocompletion=_config_formats
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File to write; for t4 and vllm a folder."),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing: measure beside the default again, here."),
    ] = False,
    backend: Annotated[
        list[str] | None,
        typer.Option("--backend", "-b", help="Only what was tuned for this kernel; repeatable."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", "-d", help="Only GPUs with this in their name, such as H100."),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            help="t4: where the trials are kept, as for tune.",
            show_default="a journal beside the records",
        ),
    ] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option(
            "--suite",
            help="--check: where to find the problems; repeatable.",
            show_default="the shipped suites",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Export the configurations that were tuned; where nothing was faster, the default."""
    if not check and (format is None or out is None):
        raise typer.BadParameter("give --format and --out, or --check")
    if check and (format is not None or out is not None):
        raise typer.BadParameter("--check writes nothing: leave --format and --out away")
    from radialbench.cli._export_configs import asked, check_configs, journal_of, write_configs

    records = asked(study, backend or [], device)
    if check:
        check_configs(records, suite or [], "radialbench export --check", json=json)
        return
    assert format is not None
    assert out is not None
    write_configs(records, format, out, storage or journal_of(study), json=json)


@app.command()
def table(
    mask: MaskName,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write, such as table.npz.")],
    format: Annotated[
        str,
        typer.Option(
            "--format",
            help="npz (ours), flex (FlexAttention), fa4 (FlashAttention-4), bsr (FlashInfer) or "
            "sparge (SpargeAttn).",
            autocompletion=_table_formats,
        ),
    ] = "npz",
    fill_partial: Annotated[
        bool,
        typer.Option("--fill-partial", help="bsr, sparge: attend partial blocks whole."),
    ] = False,
    arch: Annotated[
        str | None,
        typer.Option("--arch", help="sparge: the GPU's architecture.", show_default="sm80"),
    ] = None,
    model: ModelName = None,
    size: Size = None,
    grid: Grid = None,
    set: Settings = None,
    empty_rows: EmptyRows = None,
    block_m: BlockM = 128,
    block_n: BlockN = 128,
    json: Json = False,
) -> None:
    """Compile a mask and write its block table, for radialbench or another library."""
    from radialbench.cli._console import print_json, say
    from radialbench.cli._options import chosen_mask, compiled, scene
    from radialbench.maskgen.describe import mask_facts, scene_facts, table_facts
    from radialbench.maskgen.export import load_exporter, save_export

    load_exporter(format)
    where = scene(model, size, grid)
    spec = chosen_mask(mask, set, empty_rows)
    made, seconds = compiled(spec, where, block_m, block_n)
    options = {"partial": "full"} if fill_partial else {}
    options |= {"arch": arch} if arch is not None else {}
    added = getattr(save_export(out, made, format, **options), "added_pairs", 0)
    if json:
        facts = {"file": str(out), "format": format, "added_pairs": added}
        facts |= {"scene": scene_facts(where.grid, where.model, where.size)}
        facts |= {"mask": mask_facts(spec)}
        print_json({**facts, "table": table_facts(made, where.heads, where.head_dim, seconds)})
        return
    say(
        f"{out}: {spec.label} on {where.grid.label}, {made.full.nnz:,} full and "
        f"{made.partial.nnz:,} partial blocks of {block_m}×{block_n} tokens, "
        f"{out.stat().st_size:,} bytes"
    )
    if added:
        say(
            f"partial blocks attend whole: {added:,} pairs more than the mask's {made.pairs:,}, "
            "another mask"
        )
