"""Options that verbs share: which mask, on which grid, in which blocks, and which gates."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radialbench.errors import GridError, InputsError, ReportError, SpecError, unknown

if TYPE_CHECKING:
    from radialbench.fidelity.settings import Source
    from radialbench.maskgen.grid import Model, TokenGrid
    from radialbench.maskgen.language.given import GivenTable
    from radialbench.maskgen.language.heads import AnyMask
    from radialbench.maskgen.language.spec import MaskSpec
    from radialbench.maskgen.table import BlockTable
    from radialbench.records.result import Record
    from radialbench.reports.check.verdict import CheckResult

NoiseShares = float | dict[str, float] | None
"""What two runs of the same code differ by, as `reports.check.metrics.NoiseFloor`."""

DEFAULT_MODEL = "wan2.1-1.3b"


def _mask_names() -> list[str]:
    from radialbench.maskgen.library import mask_names

    return [*mask_names(), *map(str, Path().glob("*.yaml"))]


def names_of(module: str, name: str) -> Callable[[], list[str]]:
    """Return what completes the names of a table, or of a function, of a module."""

    def names() -> list[str]:
        found = getattr(import_module(f"radialbench.{module}"), name)
        return [*(found() if callable(found) else found)]

    return names


MaskName = Annotated[
    str,
    typer.Argument(
        help="A mask of the library, also with a preset (name:preset), or a YAML file.",
        autocompletion=_mask_names,
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option(
        *("--model", "-m"),
        help=f"A model preset, see `mask models`; {DEFAULT_MODEL} by default.",
        autocompletion=names_of("maskgen.grid", "model_names"),
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        "--size", "-s", help="Width×height×frames in pixels; the model's usual size by default."
    ),
]
Grid = Annotated[
    str | None,
    typer.Option(
        "--grid", "-g", help="Frames×rows×columns in tokens, instead of a model; one head of 128."
    ),
]
Inputs = Annotated[
    Path | None,
    typer.Option(
        "--inputs",
        "-i",
        help="A safetensors file of q, k and v, or a folder of them; if not given, synthetic "
        "ones are generated for a grid.",
    ),
]
Queries = Annotated[
    str | None,
    typer.Option(
        "--queries",
        metavar="FIRST-LAST",
        help="Frames that are queries, such as 12-15; the others are keys of a cache.",
    ),
]
EmptyRows = Annotated[
    str | None,
    typer.Option(
        "--empty-rows", help="What to do if a token attends nothing: error, keep or own_block."
    ),
]
BlockM = Annotated[int, typer.Option("--block-m", min=1, help="Query tokens of a block.")]
BlockN = Annotated[int, typer.Option("--block-n", min=1, help="Key tokens of a block.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A parameter's value; repeatable."),
]
Tables = Annotated[
    list[str] | None,
    typer.Option(
        "--table",
        metavar="NAME=FILE",
        help="A block table that the mask asks for, an npy file of booleans; repeatable.",
    ),
]
Gate = Annotated[
    list[str] | None,
    typer.Option(
        metavar="METRIC=SIZE", help="The least change that counts, as latency=5%; repeatable."
    ),
]
Gates = Annotated[Path | None, typer.Option(help="A YAML file of gates.")]
NoiseFloor = Annotated[
    str | None,
    typer.Option(
        metavar="PERCENT|FILE",
        help="How much two runs of the same code differ, instead of what is assumed: a "
        "percentage, or a file from `noise`.",
    ),
]
AcrossVersions = Annotated[
    bool, typer.Option("--across-versions", help="Let libraries and systems differ.")
]
AcrossMachines = Annotated[
    bool,
    typer.Option(
        "--across-machines",
        help="Let GPU or CPU differ: times are then inconclusive, and the rest is compared.",
    ),
]
Suite = Annotated[str, typer.Argument(help="A shipped suite, or a YAML file.")]
Filter = Annotated[
    list[str] | None,
    typer.Option("--filter", "-f", help="Part of the case ids, or a pattern with *; repeatable."),
]
Frames = Annotated[
    str | None,
    typer.Option("--frames", metavar="N,…", help="Frames of the token grids, not the suite's."),
]
Heads = Annotated[
    str | None, typer.Option("--heads", metavar="N,…", help="Heads, not the suite's.")
]
HeadDim = Annotated[
    str | None, typer.Option("--head-dim", metavar="N,…", help="Head dimensions, not the suite's.")
]
Batch = Annotated[
    str | None, typer.Option("--batch", metavar="N,…", help="Sequences, not the suite's.")
]
Dtype = Annotated[
    str | None, typer.Option("--dtype", metavar="TYPE,…", help="Types of q, k and v, likewise.")
]
Backends = Annotated[
    list[str] | None,
    typer.Option(
        "--backend",
        "-b",
        help="Backends, not the suite's; also module:Class. Repeatable.",
        autocompletion=names_of("kernels.backends", "BACKENDS"),
    ),
]
MaskSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="MASK.PARAM=VALUE,…",
        help="Values of a mask's parameter, such as radial.decay=0.5; repeatable.",
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard", metavar="I/N", help="Only this share of the work; `merge` joins the results."
    ),
]
ResultsPath = Annotated[Path, typer.Argument(help="A run's folder, or its results.jsonl.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

TIME_UNITS = {"": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0}


def parse_seconds(text: str) -> float:
    """Return the seconds of a time such as `90`, `90s`, `2min` or `1h`.

    Raises:
        typer.BadParameter: The text is no time.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(s|min|h)?", text)
    if match is None:
        raise typer.BadParameter(f"a time is such as 90 (seconds), 2min or 1h; got {text[:40]!r}")
    return float(match[1]) * TIME_UNITS[match[2] or ""]


def parse_rows(text: str) -> int | None:
    """Return a number of rows; None for `all`.

    Raises:
        typer.BadParameter: The text is neither.
    """
    if text == "all":
        return None
    if not text.isdecimal() or not 0 < int(text) < 10**9:
        raise typer.BadParameter(f"--rows is a number of rows or all, got {text[:40]!r}")
    return int(text)


def time_limit_option(unit: str) -> Any:
    """Return the option `--time-limit` of a verb that starts units of work."""
    return typer.Option(
        parser=parse_seconds, metavar="TIME", help=f"Start no {unit} after this (90, 2min, 1h)."
    )


def parse_noise_floor(given: str | None, records: "Sequence[Record]") -> NoiseShares:
    """Return how much two runs of the same code differ by `--noise-floor`.

    Args:
        given: A percentage, or a file that `radialbench noise` wrote; None if it is not known.
        records: The results that are judged.

    Raises:
        ReportError: It is neither, or the file is of another device, or holds too few runs.
        SuiteError: The file holds something else than runs.
    """
    from radialbench.reports.check.noise import noise_floors
    from radialbench.suites.noise import read_runs

    if given is None:
        return None
    if re.fullmatch(r"\d{1,2}(\.\d{1,9})?", given):
        percent = float(given)
        if percent > 50:
            raise ReportError(f"--noise-floor is at most 50 (percent), got {given}")
        return percent / 100
    if not Path(given).is_file():
        raise ReportError(
            f"--noise-floor takes a percentage or a file that `radialbench noise` wrote, "
            f"got {given[:80]!r}"
        )
    runs = read_runs(Path(given))
    measured, judged = runs[0][0].environment.processor, records[0].environment.processor
    if measured != judged:
        raise ReportError(f"{given} has the noise of {measured}, and the results are of {judged}")
    return noise_floors(runs)


def checker(
    gate: Iterable[str] | None,
    gates: Path | None,
    noise_floor: str | None,
    *,
    across_versions: bool,
    across_machines: bool,
) -> "Callable[..., CheckResult]":
    """Return `reports.check.compare.check` with the options of `check` and `report`.

    Raises:
        ReportError: A gate cannot be read.
    """
    from radialbench.reports.check.compare import check
    from radialbench.reports.check.metrics import choose_gates

    chosen = choose_gates(gates, gate)

    def run_check(
        current: "Sequence[Record]", baseline: "Sequence[Record]", **how: Any
    ) -> "CheckResult":
        how |= {"across_versions": across_versions, "across_machines": across_machines}
        return check(
            current, baseline, chosen, noise_floor=parse_noise_floor(noise_floor, current), **how
        )

    return run_check


@dataclass(frozen=True, slots=True)
class Scene:
    """The grid and heads that a mask is shown for.

    Attributes:
        grid: Token layout.
        heads: Attention heads.
        head_dim: Numbers per head and token.
        model: The model, if one was named.
        size: Its size in pixels.
    """

    grid: "TokenGrid"
    heads: int = 1
    head_dim: int = 128
    model: "Model | None" = None
    size: str | None = None

    @property
    def title(self) -> str:
        """The scene in a line."""
        parts = [
            f"{one.label.replace('x', '×')} {one.name} tokens"
            if one.sides
            else f"{one.tokens:,} {one.name} tokens"
            for one in sorted(self.grid.layout, key=lambda one: one.name != "video")
        ]
        tokens = f"{', '.join(parts)}, {self.grid.seq_len:,} in all"
        if self.grid.query_frames is not None:
            first, last = self.grid.query_frames
            tokens += f"; queries: frames {first}–{last}, {self.grid.q_len:,} tokens"
        if self.model is None or self.size is None:
            return tokens
        return f"{self.model.title} at {self.size.replace('x', '×')}: {tokens}"


def scene(
    model: str | None, size: str | None, grid: str | None, queries: str | None = None
) -> Scene:
    """Return the scene of `--model`, `--size`, `--grid` and `--queries`.

    Raises:
        GridError: They contradict each other, or there is no such model, size or grid.
    """
    from radialbench.maskgen.grid import load_model, parse_frames

    if queries is not None:
        whole = scene(model, size, grid)
        return replace(whole, grid=replace(whole.grid, query_frames=parse_frames(queries)))
    if grid is not None:
        if model is not None or size is not None:
            raise GridError(
                "a grid is given in tokens (--grid), or by --model and --size, not both"
            )
        return Scene(_parse_grid(grid))
    preset = load_model(model or DEFAULT_MODEL)
    size = size or preset.example
    return Scene(preset.grid(size), preset.heads, preset.head_dim, preset, size)


def input_sources(
    inputs: Path | None, model: str | None, size: str | None, grid: str | None
) -> "Sequence[Source]":
    """Return the files of `--inputs`, or what generates inputs for a grid.

    Raises:
        InputsError: The files cannot be read, or a grid is given beside them.
        GridError: There is no such model, size or grid.
    """
    if inputs is None:
        from radialbench.fidelity.generator import MIXED, Generated, mixed

        where = scene(model, size, grid)
        return [Generated(where.grid, mixed(max(where.heads, len(MIXED))), where.head_dim)]
    if (model, size, grid) != (None, None, None):
        raise InputsError(
            "the inputs say their grid: --model, --size and --grid are for generated ones"
        )
    from radialbench.fidelity.files import open_inputs

    return open_inputs(inputs)


def chosen_mask(
    mask: str,
    settings: list[str] | None,
    empty_rows: str | None,
    tables: list[str] | None = None,
) -> "MaskSpec":
    """Load a mask with the values of `--set` and `--empty-rows`, and the files of `--table`.

    Raises:
        SpecError: There is no such mask, parameter or table, a value is not allowed, or a file
            cannot be read.
    """
    from radialbench.maskgen.library import load_mask

    spec = load_mask(mask, empty_rows=empty_rows)
    kinds = {param.name: param.kind for param in spec.params}
    texts = _pairs(settings, "parameter", "value")
    for name in texts:
        if name not in kinds:
            raise SpecError(unknown(f"parameter of {spec.name}", name, kinds))
    values = {name: _parse_value(kinds[name], text) for name, text in texts.items()}
    return spec.with_params(**values).with_tables(given_tables(tables))


def any_mask(word: str) -> "AnyMask":
    """Load a mask, or a file with a head plan.

    Raises:
        SpecError: There is no such mask, or the file cannot be read.
    """
    from radialbench.maskgen.library import is_head_plan, load_head_plan, load_mask

    return load_head_plan(word) if is_head_plan(word) else load_mask(word)


def given_tables(tables: list[str] | None) -> "dict[str, GivenTable]":
    """Read the files of `--table`, by the names of the tables.

    Raises:
        SpecError: It is not name=file, or a file cannot be read.
    """
    from radialbench.maskgen.language.given import read_tables

    return read_tables(_pairs(tables, "table", "file"))


def _pairs(settings: list[str] | None, kind: str, value: str) -> dict[str, str]:
    """Split name=value settings.

    Raises:
        SpecError: One has no name, or a name is set twice.
    """
    pairs: dict[str, str] = {}
    for setting in settings or ():
        name, equals, text = (part.strip() for part in setting.partition("="))
        if not equals:
            raise SpecError(f"a {kind} is set as name={value}, got {setting[:40]!r}")
        if name in pairs:
            raise SpecError(f"the {kind} {name!r} is set twice")
        pairs[name] = text
    return pairs


def compiled(
    spec: "MaskSpec", where: Scene, block_m: int, block_n: int, heads: str = ""
) -> tuple["BlockTable", float]:
    """Compile a mask, and return the table and the seconds that it took.

    Args:
        spec: The mask.
        where: Its grid.
        block_m: Query tokens of a block.
        block_n: Key tokens of a block.
        heads: The group of heads it is for, for messages.

    Raises:
        SpecError: The mask does not fit the grid.
    """
    from time import perf_counter

    from radialbench.commands.console import errors
    from radialbench.commands.progress import watch_work
    from radialbench.maskgen.compiler import compile_mask

    start = perf_counter()
    try:
        with watch_work(errors, f"compiling {spec.label}") as watch:
            table = compile_mask(spec, where.grid, block_m, block_n, progress=watch)
    except SpecError as error:
        raise SpecError(f"{f'heads {heads}, ' if heads else ''}{spec.label}: {error}") from None
    return table, perf_counter() - start


def _parse_value(kind: str, text: str) -> float | bool:
    """Parse a parameter's value; text that cannot be parsed stays, and the parameter refuses it."""
    try:
        if kind == "bool":
            return {"true": True, "false": False}[text.lower()]
        return int(text) if kind == "int" else float(text)
    except (KeyError, ValueError):
        return text  # type: ignore[return-value]


def _parse_grid(text: str) -> "TokenGrid":
    """Parse a grid as `TokenGrid.label` formats it: `21x45x80`, `33x45x80+256`, `226+13x30x45`.

    Segments have names: `text=226+video=13x30x45+audio=120`. Frames of queries may follow:
    `16x45x80 q12-15`.
    """
    from radialbench.maskgen.grid import Segment, TokenGrid, parse_frames

    text, of_queries, frames_of_queries = text.partition(" q")
    query_frames = parse_frames(frames_of_queries) if of_queries else None
    if "=" in text:
        named = [part.partition("=") for part in text.split("+")]
        segments = [Segment.parse(name.strip(), size) for name, _, size in named]
        return TokenGrid.of(*segments, query_frames=query_frames)
    count = r"(?:(\d{1,9})of)?(\d{1,9})"
    sides = r"(\d{1,9})[x×](\d{1,9})[x×](\d{1,9})"
    match = re.fullmatch(rf"(?:{count}\+)?{sides}(?:\+{count})?", text.strip())
    if not match or (match[2] and match[7]):
        raise GridError(
            "a grid is frames×rows×columns in tokens, such as 21x45x80, or 33x45x80+256 with text "
            f"behind the video, or 226+13x30x45 with text in front; got {text[:40]!r}"
        )
    valid, tokens = (match[1], match[2]) if match[2] else (match[6], match[7])
    frames, height, width = map(int, match.groups()[2:5])
    return TokenGrid(
        frames,
        height,
        width,
        text_tokens=int(tokens or 0),
        text_first=bool(match[2]),
        text_valid=None if valid is None else int(valid),
        query_frames=query_frames,
    )
