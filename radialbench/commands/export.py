"""`radialbench export`: tuned configurations and block tables, for other code."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from radialbench.commands import FAILED, options
from radialbench.commands.console import errors, fail, note, print_json, say
from radialbench.commands.progress import watch_work
from radialbench.errors import RecordError
from radialbench.writing import is_output

if TYPE_CHECKING:
    from radialbench.records.tuning import TuningRecord


class _Export(TyperGroup):
    """Takes a word that is no command as the study that `configs` exports."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["configs", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Export,
    no_args_is_help=True,
    help="Export tuned configurations (`export STUDY` is `export configs STUDY`) or block tables.",
)


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
            help="json, python, t4, triton or vllm.",
            autocompletion=options.names_of("autotune.export", "CONFIG_FORMATS"),
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="File to write, - for standard output; for t4 and vllm a folder."
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing: measure beside the default again, here.")
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
            help="t4: where the trials are kept, as for tune.",
            show_default="a journal beside the records",
        ),
    ] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option(
            help="--check: suites that have the problems; repeatable.",
            show_default="the shipped suites",
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Export tuned configurations; where nothing was faster, the default."""
    if not check and (format is None or out is None):
        raise typer.BadParameter("give --format and --out, or --check")
    if check and (format is not None or out is not None):
        raise typer.BadParameter("--check writes nothing: omit --format and --out")
    from radialbench.autotune.export import choose_records

    records = choose_records(study, backend or [], device)
    if format is None or out is None:
        _check(records, suite or [], json=json)
        return
    if storage is None and study is not None and study.is_file():
        # Where `radialbench tune` puts the trials of a file of records.
        journal = study.with_suffix(".journal")
        storage = f"journal:{journal}" if journal.is_file() else None
    _write(records, format, out, storage, json=json)


@app.command()
def table(
    mask: options.MaskName,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="File to write, such as table.npz, or - for standard output."
        ),
    ],
    format: Annotated[
        str,
        typer.Option(
            help="npz (ours), flex (FlexAttention), fa4 (FlashAttention-4), bsr (FlashInfer) or "
            "sparge (SpargeAttn).",
            autocompletion=options.names_of("maskgen.export", "EXPORTERS"),
        ),
    ] = "npz",
    fill_partial: Annotated[
        bool, typer.Option("--fill-partial", help="bsr, sparge: attend partial blocks whole.")
    ] = False,
    arch: Annotated[
        str | None, typer.Option(help="sparge: the GPU's architecture.", show_default="sm80")
    ] = None,
    model: options.ModelName = None,
    size: options.Size = None,
    grid: options.Grid = None,
    queries: options.Queries = None,
    set: options.Settings = None,
    tables: options.Tables = None,
    empty_rows: options.EmptyRows = None,
    block_m: Annotated[
        int | None,
        typer.Option(min=1, help="Query tokens of a block.", show_default="128; sparge: its own"),
    ] = None,
    block_n: Annotated[
        int | None,
        typer.Option(min=1, help="Key tokens of a block.", show_default="128; sparge: its own"),
    ] = None,
    json: options.Json = False,
) -> None:
    """Compile a mask and write its block table, for radialbench or another library."""
    from radialbench.maskgen.describe import mask_facts, scene_facts, table_facts
    from radialbench.maskgen.export import load_exporter, save_export

    settings = {} if arch is None else {"arch": arch}
    own_blocks = getattr(load_exporter(format), "blocks", lambda **settings: (128, 128))
    rows, columns = own_blocks(**settings)
    block_m, block_n = block_m or rows, block_n or columns
    where = options.scene(model, size, grid, queries)
    spec = options.chosen_mask(mask, set, empty_rows, tables)
    made, seconds = options.compiled(spec, where, block_m, block_n)
    settings |= {"partial": "full"} if fill_partial else {}
    added = getattr(save_export(out, made, format, **settings), "added_pairs", 0)
    if json:
        facts = {"file": str(out), "format": format, "added_pairs": added}
        facts |= {"scene": scene_facts(where.grid, where.model, where.size)}
        facts |= {"mask": mask_facts(spec)}
        print_json({**facts, "table": table_facts(made, where.heads, where.head_dim, seconds)})
        return
    tell = note if is_output(out) else say
    size = f", {out.stat().st_size:,} bytes" if out.is_file() else ""
    tell(
        f"{out}: {spec.label} on {where.grid.label}, {made.full.nnz:,} full and "
        f"{made.partial.nnz:,} partial blocks of {block_m}×{block_n} tokens{size}"
    )
    if added:
        tell(
            f"partial blocks attend whole: {added:,} pairs more than the mask's {made.pairs:,}, "
            "another mask"
        )


def _write(
    records: "Sequence[TuningRecord]", format: str, out: Path, storage: str | None, *, json: bool
) -> None:
    """Write records in a format, and report how many keep the default, and how many are stale."""
    from radialbench.autotune.export import Chosen, load_config_format, write_texts
    from radialbench.kernels.tuned import stale_reasons
    from radialbench.records.store import WriteError

    texts = load_config_format(format)(Chosen(tuple(records), storage))
    try:
        files = write_texts(out, texts)
    except WriteError as error:
        fail(str(error), FAILED)
    kept = sum(record.source == "default" for record in records)
    stale = sum(bool(stale_reasons(record)) for record in records)
    if json:
        facts = {"files": list(map(str, files)), "format": format}
        print_json({**facts, "configurations": len(records), "default": kept, "stale": stale})
        return
    devices = ", ".join(sorted({record.key.device for record in records}))
    tell = note if is_output(out) else say
    tell(
        f"{out}: {len(records)} configurations of {devices}, the default for {kept} of them, "
        "where nothing was faster by more than the noise"
    )
    if stale:
        tell(
            f"{stale} are of another version of the kernel or its compiler than this one: here "
            "they are used only where stale ones are asked for. Tune again"
        )


def _check(records: "Sequence[TuningRecord]", suites: Sequence[str], *, json: bool) -> None:
    """Measure records of this machine beside the default again; exit with 1 if one is not sound."""
    from radialbench.autotune.jobs import match_records
    from radialbench.autotune.live import WorkerPool
    from radialbench.autotune.run import Verification, verify
    from radialbench.commands.tune import collect_verdicts, print_verdicts
    from radialbench.kernels.arch import find_device
    from radialbench.kernels.tuned import device_name
    from radialbench.suites.read import suite_names

    devices = {device_name(device): device for device in ("cpu", find_device("auto"))}
    here = {record.key: record for record in records if record.key.device in devices}
    if not here:
        raise RecordError(
            f"the configurations are of {', '.join(sorted({r.key.device for r in records}))}, and "
            f"this machine has {' and '.join(devices)}: nothing can be measured here"
        )
    names = {devices[key.device] for key in here}
    jobs = {name: match_records(here, suites or suite_names(), name) for name in sorted(names)}
    keys = {job.key for some in jobs.values() for job in some}
    if not keys:
        raise RecordError(
            f"none of the {len(here)} configurations of this machine is of a problem in "
            f"{', '.join(suites) or 'the shipped suites'}; name a suite that has it with --suite"
        )
    kept = sum(here[key].source == "default" for key in keys)
    rest = (
        f"{len(here) - len(keys)} are of problems in none of the suites, {kept} keep the default, "
        f"{len(records) - len(here)} are of other devices"
    )

    def verdicts() -> Iterator[Verification]:
        for name, some in jobs.items():
            if any(here[job.key].source == "tuned" for job in some):
                with WorkerPool(name, "radialbench export --check") as pool:
                    yield from verify(some, here, pool)

    with watch_work(errors, "measuring again"):
        done = collect_verdicts(verdicts(), json=json)
    if not print_verdicts(done, rest, json=json):
        raise typer.Exit(FAILED)
